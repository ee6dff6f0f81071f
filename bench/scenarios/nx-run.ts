import type { NetworkProfile } from '../../src/local-aws/link/network';
import type { Input } from '../inputs/inputs';
import { firstLine, inTheCommand, oneCommand } from '../report/floor';
import { atMostFloorsMore, oneCommand as inOneCommand, processorSinceBundle } from '../report/goals';
import type { BeforeBundle } from '../report/before-bundle';
import type { Goal, Scenario } from './scenario';
import { interpreterStart } from './started';
import { wholeProcess } from './whole-process';

/** Of the processor time before the bundle, what may be left. */
const PROCESSOR_PART = 0.4;

/** `nx run` as it is typed, without Nx's daemon and with it. */
export function wholeProcesses(): Scenario[] {
  return [false, true].flatMap((daemon) => {
    const name = (what: string) => `nx-${what}${daemon ? '-daemon' : ''}`;
    const title = (what: string) => `nx run model:${what}, ${daemon ? "with Nx's daemon" : "without Nx's daemon"}`;
    const common = { input: 'source' as const, of: 'ours' as const };
    const time = [atMostFloorsMore(1.3), inOneCommand];
    return [
      {
        ...common,
        name: name('unchanged'),
        title: title('remote-sync, nothing changed'),
        run: wholeProcess({ edit: false, daemon }),
        floor: oneCommand,
        goals: [...time, ...processor('unchanged')],
      },
      {
        ...common,
        name: name('edit'),
        title: title('remote-sync, one line edited'),
        run: wholeProcess({ edit: true, daemon }),
        floor: (network: NetworkProfile, { delta }: Input) => inTheCommand(network, delta),
        goals: [...time, ...processor('edit')],
      },
      {
        ...common,
        name: name('start'),
        title: title("remote-train to the training's first line"),
        run: wholeProcess({ edit: false, daemon, toFirstLine: true }),
        floor: (network: NetworkProfile) => firstLine(network, interpreterStart()),
        goals: time,
      },
    ];

    /** The daemon's own processor time is in none of the processes: what it does for Nx and for us can't be told apart. */
    function processor(scenario: keyof BeforeBundle): Goal[] {
      if (daemon) return [];
      return (['client', 'instance'] as const).map((side) => processorSinceBundle(PROCESSOR_PART, side, scenario));
    }
  });
}
