import { existsSync, realpathSync } from 'node:fs';
import { isAbsolute, join, posix, relative, sep } from 'node:path';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { merge, type Raw } from '../schema/merge';
import { readJson, readText } from '../syntax/read-text';
import { repeatedKey } from '../syntax/repeated-key';

export const CONFIG_FILE = 'ec2.config.json';

/**
 * Reads the ec2.config.json of a project, as it is written; {} where there is none. A link that leaves the workspace is
 * refused: the message of a syntax error quotes the file.
 * @throws Problem `CONFIG_SYNTAX`, `CONFIG_OUTSIDE`
 */
export function readConfigFile(workspaceRoot: string, projectRoot: string): Raw {
  const path = join(workspaceRoot, projectRoot, CONFIG_FILE);
  if (!existsSync(path)) return {};
  const name = posix.join(projectRoot, CONFIG_FILE);
  const target = relative(realpathSync(workspaceRoot), realpathSync(path));
  if (target === '..' || target.startsWith(`..${sep}`) || isAbsolute(target))
    throw new Problem('CONFIG_OUTSIDE', `${name} is a symbolic link that leaves the workspace.`, {
      next: 'Replace it with a file.',
    });
  if (readText(path).trim() === '')
    throw new Problem('CONFIG_SYNTAX', `${name} is empty.`, {
      next: 'Write one object into it, {} at least, or delete the file.',
    });
  let value: unknown;
  try {
    value = readJson(path);
  } catch (error) {
    throw new Problem('CONFIG_SYNTAX', `${name} is not valid JSON: ${(error as Error).message.trimEnd()}`);
  }
  const repeated = repeatedKey(readText(path));
  if (repeated)
    throw new Problem(
      'CONFIG_SYNTAX',
      `${name} has the key "${sanitizeForTerminal(repeated.key)}" twice, again in line ${repeated.line}.`,
      { next: 'Only the last one would be used: remove the other.' },
    );
  if (value && typeof value === 'object' && !Array.isArray(value)) return value as Raw;
  throw new Problem('CONFIG_SYNTAX', `${name} must hold one object, in braces.`);
}

/**
 * Puts the ec2.config.json of a project over the options of nx-ec2 in nx.json, both as they are written: all that the
 * files say of a project.
 */
export function declaredConfiguration(plugin: Raw, own: Raw): Raw & { sync: Raw; train: Raw } {
  const section = (key: string): Raw => merge((plugin[key] ?? {}) as Raw, (own[key] ?? {}) as Raw);
  return { ...plugin, ...own, sync: section('sync'), train: section('train') };
}
