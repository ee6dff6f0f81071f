import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readJsonFile, workspaceRoot, type NxJsonConfiguration } from '@nx/devkit';
import { Problem } from '../report/problem';

/** The workspace's nx.json; empty where there is none. @throws Problem where it is not valid JSON. */
export function nxJson(): NxJsonConfiguration {
  const file = join(workspaceRoot, 'nx.json');
  if (!existsSync(file)) return {};
  try {
    return readJsonFile<NxJsonConfiguration>(file);
  } catch (cause) {
    throw new Problem('CONFIG_SYNTAX', `${file} is not valid JSON: ${(cause as Error).message}`, { cause });
  }
}
