import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const SECRET = 'secret-access-key';
/** Local AWS and its command line make these in a state directory; one that holds other files and none of these is not one. */
const OWN = ['instances', 's3', 'lock', 'mark', SECRET];
/** Git and Nx read these; the copies of projects below are neither committed nor part of the project graph. */
const IGNORE_FILES = ['.gitignore', '.nxignore'];

/**
 * Creates a state directory, or takes an existing one, so that only its owner can read it. An existing one is trusted: the
 * command nx-ec2 local-aws examines first where it came from.
 * @param group may open what it knows the name of: of another user as whom sessions run.
 * @throws Error where it holds files and none of them is local AWS's.
 */
export function prepareStateDirectory(directory: string, group?: number): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const names = readdirSync(directory);
  if (names.length && !names.some((name) => OWN.includes(name)))
    throw new Error(`${directory} holds files and no state of local AWS: choose an empty or a new directory.`);
  for (const name of IGNORE_FILES) createFile(join(directory, name), '*\n');
  if (group !== undefined) chownSync(directory, process.getuid!(), group);
  chmodSync(directory, group === undefined ? 0o700 : 0o710);
}

/** The secret access key of a state directory, random and made once. */
export function secretAccessKey(directory: string): string {
  const file = join(directory, SECRET);
  createFile(file, randomBytes(30).toString('base64'));
  const secret = readFileSync(file, 'utf8').trim();
  if (secret.length < 40) throw new Error(`${file} holds no secret access key: delete the file for a new one.`);
  return secret;
}

function createFile(file: string, content: string): void {
  try {
    writeFileSync(file, content, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
