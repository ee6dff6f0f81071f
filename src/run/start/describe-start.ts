import type { RunFacts } from '../../command/plan';
import type { RunContext } from '../../context/types';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { describeQueue } from '../follow/show-run';
import { callerName } from '../status/status';

/**
 * Says what was started or found.
 * @param followed whether it is the caller's own, and the command that stops it, where its log follows.
 */
export function describeStart(
  context: RunContext,
  run: RunFacts,
  attached: false | 'running' | 'ended',
  followed?: { own: boolean; cancel: string },
): void {
  const { printer } = context;
  const process = run.pid ? `, PID ${run.pid}` : '';
  const by = followed?.own === false ? `, ${sanitizeForTerminal(callerName(run.caller))}'s,` : '';
  if (attached === 'running') {
    printer.line(
      `This training is already active: attached to ${printer.strong(run.id)}${by} on ${run.instance}${process} (--rerun starts another)`,
    );
  } else if (attached === 'ended') {
    printer.line(
      `This training has ended already: ${printer.strong(run.id)}${by} on ${run.instance} (--rerun starts another)`,
    );
  } else {
    printer.line(
      `Training ${printer.strong(run.id)} ${run.queue ? 'waits' : 'started'} on ${run.instance}${describeOthers(run)}${process} as ${sanitizeForTerminal(run.user)}`,
    );
  }
  const { paths } = context.configuration.train.checkpoints;
  if (attached === false && paths.length > 0) {
    const places = ['NX_EC2_CHECKPOINT_DIR', ...paths.map(({ path }) => sanitizeForTerminal(path))].join(', ');
    printer.line(`Checkpoints are saved while it runs from ${places}`);
  }
  if (run.queue) printer.line(describeQueue(run.queue));
  if (attached !== 'ended' && followed) {
    const { train } = context.configuration;
    printer.line(
      !followed.own
        ? 'Ctrl+C leaves it running; come back with the same command'
        : train.onSignal === 'stop'
          ? 'Ctrl+C stops it'
          : `Ctrl+C leaves it running${printer.isPseudoTerminal ? '' : ' (twice stops it)'}; come back with the same command, stop it with ${followed.cancel}`,
    );
  }
  if (run.user === 'root')
    printer.detail('It runs as root: no login user was found on the instance; "user" names one.');
}

/** How many nodes a run has beside its first one; empty: none. */
export function describeOthers({ node }: Pick<RunFacts, 'node'>): string {
  return node && node.count > 1 ? ` and ${node.count - 1} more` : '';
}
