import type { z } from 'zod';
import type { configurationSchema } from '../schema/schema';
import type { ConfigurationInput, Configuration } from './types';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { resolveLaunchSpec } from '../schema/launch-spec';
import { missing } from './missing-setting';
import { describes } from '../schema/merge';
import { isTraining } from '../schema/target-options';
import type { InstanceName } from '../schema/instance-name';

const STARTUP_TIMEOUT_MS = 5 * 60_000;

type Instance = Exclude<NonNullable<z.infer<typeof configurationSchema>['instance']>, unknown[]>;

type Named = Exclude<Instance, string>;

/** Targets that use one instance, whatever number of nodes a training has. */
const ON_ONE = ['remote-watch'];
/** Targets that use no instance but those of runs, or all that are named. */
const ON_ANY = ['remote-sync', 'remote-logs', 'remote-status', 'remote-cancel', 'remote-pull'];

/** @param nodes `train.nodes`. */
export function instancesOf(
  input: ConfigurationInput,
  value: NonNullable<z.infer<typeof configurationSchema>['instance']>,
  nodes: number,
): Pick<Configuration, 'instance' | 'instances'> {
  const all = [value].flat().map((each) => instanceName(input, each));
  const [first] = all;
  const { target } = input;
  const mayBeSeveral = ON_ANY.includes(target) || (nodes > 1 && !ON_ONE.includes(target));
  if (!mayBeSeveral && namesSeveral(all)) {
    const one = 'Name one of them: --instance=i-….';
    throw new Problem('CONFIG_INVALID', `"instance" names several instances, but ${target} takes one.`, {
      next: isTraining(target) ? `${one} To train on several together, set "train.nodes" to their number.` : one,
      settings: ['instance'],
    });
  }
  return { instance: first, instances: all.map(({ startupTimeout: _, ...name }) => name) };
}

/** Whether these may be more than one instance. */
export function namesSeveral(all: readonly InstanceName[]): boolean {
  return all.length > 1 || all.some((name) => 'tag' in name && name.all);
}

function instanceName(input: ConfigurationInput, value: Instance): Configuration['instance'] {
  if (typeof value === 'string') {
    if (/^i-[0-9a-f]{8,17}$/.test(value)) return { id: value, startupTimeout: STARTUP_TIMEOUT_MS };
    if (!/^i-\S*$/.test(value)) return { name: value, startupTimeout: STARTUP_TIMEOUT_MS };
    throw new Problem('CONFIG_INVALID', `instance: "${sanitizeForTerminal(value)}" is not an instance id.`, {
      next: 'Write an id such as "i-0123456789abcdef0"; if it is the Name of an instance, write { "name": … }.',
      settings: ['instance'],
    });
  }
  if (isNamed(value)) return { ...value, startupTimeout: value.startupTimeout ?? STARTUP_TIMEOUT_MS };
  const launchSpec = resolveLaunchSpec(value);
  if (!('wrong' in launchSpec)) return { launchSpec, startupTimeout: value.startupTimeout };
  throw launchSpec.missing
    ? missing(input, launchSpec.wrong, 'an instance type, or a list of them')
    : new Problem('CONFIG_INVALID', launchSpec.wrong, { settings: [launchSpec.wrong.split(':')[0]] });
}

function isNamed(value: Named): value is Exclude<Named, { onFinish: unknown }> {
  return !describes(value);
}
