import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isAbsolute, join } from 'node:path';
import type { NxJsonConfiguration } from '@nx/devkit';
import { readJson } from '../config/syntax/read-text';
import { Problem } from '../report/problem';

/**
 * Reads a workspace's nx.json over the one that it extends, as Nx does: a property that both have is that of nx.json.
 * Empty if there is none.
 * @throws Problem CONFIG_SYNTAX, CONFIG_EXTENDS
 */
export function readNxJson(workspaceRoot: string): NxJsonConfiguration {
  const file = join(workspaceRoot, 'nx.json');
  if (!existsSync(file)) return {};
  const own = read(file);
  return own.extends === undefined ? own : { ...read(extended(workspaceRoot, own.extends)), ...own };
}

function read(file: string): NxJsonConfiguration {
  let value: unknown;
  try {
    value = readJson(file);
  } catch (error) {
    // The first line alone: others quote the file, which a preset's name may choose anywhere on this machine.
    const [reason] = (error as Error).message.split('\n');
    throw new Problem('CONFIG_SYNTAX', `${file} is not valid JSON: ${reason}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Problem('CONFIG_SYNTAX', `${file} must hold one object.`);
  return value;
}

function extended(workspaceRoot: string, name: unknown): string {
  const next = 'Install the package, or correct "extends" in nx.json.';
  if (typeof name !== 'string')
    throw new Problem('CONFIG_EXTENDS', 'nx.json: extends: must be the name of one file or package, as text.', {
      next,
    });
  const paths = [join(workspaceRoot, '.nx/installation'), workspaceRoot];
  try {
    const file = createRequire(join(workspaceRoot, 'nx.json')).resolve(name, { paths });
    // Modules of Node have no file.
    if (isAbsolute(file)) return file;
  } catch {
    // Said below.
  }
  throw new Problem('CONFIG_EXTENDS', `nx.json extends ${name}, which can't be found from ${workspaceRoot}.`, { next });
}
