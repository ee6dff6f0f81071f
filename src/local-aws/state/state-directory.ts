import { randomBytes } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

const SECRET = 'secret-access-key';
/** Local AWS makes these in its state directory; one that holds other files and none of these is not one. */
const OWN = ['instances', 's3', 'lock', SECRET];
/** Git and Nx read these; the copies of projects below are neither committed nor part of the project graph. */
const IGNORE_FILES = ['.gitignore', '.nxignore'];

/**
 * Creates a state directory, or takes an existing one, so that only its owner can read it.
 * @param group may open what it knows the name of: of another user as whom sessions run.
 * @throws Error where it holds files and none of them is local AWS's.
 */
export function prepareStateDirectory(directory: string, group?: number): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const parent = dirname(directory);
  if (basename(parent) === '.nx-ec2') assertOwn(parent);
  assertOwn(directory);
  const names = readdirSync(directory);
  if (names.length && !names.some((name) => OWN.includes(name)))
    throw new Error(`${directory} holds files and no state of local AWS: choose an empty or a new directory.`);
  for (const name of IGNORE_FILES) createFile(join(directory, name), '*\n');
  assertOwnState(directory, names);
  if (group !== undefined) chownSync(directory, process.getuid!(), group);
  chmodSync(directory, group === undefined ? 0o700 : 0o710);
}

/** The secret access key of a state directory, random and made once. */
export function secretAccessKey(directory: string): string {
  const file = join(directory, SECRET);
  createFile(file, randomBytes(30).toString('base64'));
  assertOwn(file);
  const stat = lstatSync(file);
  if (!stat.isFile() || stat.mode & 0o077)
    throw new Error(
      `${file} is not a file that only its owner can read: others may know the key. Remove it: rm ${file}`,
    );
  const secret = readFileSync(file, 'utf8').trim();
  if (secret.length < 40) throw new Error(`${file} holds no secret access key: delete the file for a new one.`);
  return secret;
}

/** A repository can bring a state directory along: with a key that others know, and links that lead out of it. */
function assertOwnState(directory: string, names: readonly string[]): void {
  for (const name of names) assertOwn(join(directory, name));
  const git = ['-c', 'core.fsmonitor=false', '-c', 'safe.bareRepository=explicit', '-C', directory];
  const { stdout } = spawnSync('git', [...git, 'ls-files', '-z', '--', '.'], { encoding: 'utf8' });
  const [tracked] = (stdout ?? '').split('\0');
  if (tracked)
    throw new Error(
      `git tracks ${join(directory, tracked)}: the state of local AWS came with the repository, and others may know its key. Remove it: git rm -r ${directory}`,
    );
}

/** @throws Error where a path is a link, or another user's. */
function assertOwn(path: string): void {
  const stat = lstatSync(path);
  if (stat.isSymbolicLink()) throw new Error(`${path} is a symbolic link. Remove it: rm ${path}`);
  if (process.getuid && stat.uid !== process.getuid())
    throw new Error(`${path} belongs to another user. Remove it: rm -r ${path}`);
}

function createFile(file: string, content: string): void {
  try {
    writeFileSync(file, content, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
