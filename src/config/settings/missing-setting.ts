import type { ConfigurationInput } from './types';
import { Problem } from '../../report/problem';
import { posix } from 'node:path';
import { CONFIG_FILE } from '../sources/config-file';

export function missing(input: ConfigurationInput, key: string, what: string): Problem {
  return new Problem('CONFIG_MISSING', `"${key}" is not set for ${input.projectName}.`, {
    next: `Set it to ${what} in ${posix.join(input.projectRoot, CONFIG_FILE)}, in the options of nx-ec2 in nx.json, or by --${key}.`,
  });
}
