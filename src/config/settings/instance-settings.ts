import type { z } from 'zod';
import type { configurationSchema } from '../schema/schema';
import type { ConfigurationInput, Configuration } from './types';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { resolveLaunchSpec } from '../schema/launch-spec';
import { missing } from './missing-setting';
import { describes } from '../schema/merge';

const STARTUP_TIMEOUT_MS = 5 * 60_000;

type Instance = Exclude<NonNullable<z.infer<typeof configurationSchema>['instance']>, unknown[]>;

type Named = Exclude<Instance, string>;

export function instancesOf(
  input: ConfigurationInput,
  value: NonNullable<z.infer<typeof configurationSchema>['instance']>,
): Pick<Configuration, 'instance' | 'instances'> {
  const all = [value].flat().map((each) => instanceName(input, each));
  const [first] = all;
  if (input.target !== 'remote-sync' && (all.length > 1 || ('tag' in first && first.all))) {
    throw new Problem('CONFIG_INVALID', `"instance" names several instances, but ${input.target} takes one.`, {
      next: `Name one of them: --instance=i-….`,
      settings: ['instance'],
    });
  }
  return { instance: first, instances: all.map(({ startupTimeout: _, ...name }) => name) };
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
