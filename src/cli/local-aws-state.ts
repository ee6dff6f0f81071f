import { createHmac, randomBytes } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, readFileSync, realpathSync, renameSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { shellWord } from '../report/shell-words';
import { lookUp } from '../workspace/look-up';
import { runGit } from '../workspace/git/run-git';
import { keyFile, readKey } from './local-aws-key';

/** The file of a state directory that shows who created it. */
const MARK = 'mark';
const ELSEWHERE = 'or choose another directory: npx nx-ec2 local-aws --directory PATH';

/**
 * Creates a state directory of local AWS, or accepts one that this user created at this path on this machine. A repository
 * or an archive can bring one along: with a key that others know, instances whose user data runs at the start, and links
 * that lead out of it.
 * @throws Error that names the directory, and how to remove it.
 */
export function ensureStateDirectory(directory: string): void {
  const parent = dirname(directory);
  const own = basename(parent) === '.nx-ec2' ? [parent, directory] : [directory];
  // Before anything is created through a link, and again when it is there.
  for (const path of own) if (lookUp(path)) assertOwn(path);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  for (const path of own) assertOwn(path);
  const mark = markOf(directory);
  const isNew = assertMarked(directory, mark);
  // The directory keeps its mark where a later commit brings files: git replaces ignored files.
  assertUntracked(directory);
  if (isNew) replaceFile(join(directory, MARK), mark);
}

/** @returns whether the directory is empty, or a start was killed before it had written anything else. */
function assertMarked(directory: string, mark: string): boolean {
  const names = readdirSync(directory).filter((name) => !/^mark(\.[0-9a-f]+)?$/.test(name));
  if (names.length === 0) return true;
  if (readMark(directory) === mark) return false;
  if (!names.some((name) => name === 'instances' || name === 'secret-access-key'))
    throw new Error(`${directory} holds files and no state of local AWS: choose an empty or a new directory.`);
  throw new Error(
    `${directory} holds state that local AWS did not create at this path for you, and it would run the commands in it as you. A repository or an archive can bring such state. If it is your own, it was moved or copied, or ${keyFile()}, which proves its origin, was removed or is another user's or machine's. Remove the state: rm -rf ${shellWord(directory)}, ${ELSEWHERE}`,
  );
}

function readMark(directory: string): string | null {
  try {
    return readFileSync(join(directory, MARK), 'utf8');
  } catch {
    return null;
  }
}

/** What only this user on this machine can say of a path. It is the same for two starts at once. */
function markOf(directory: string): string {
  return createHmac('sha256', readKey()).update(realpathSync(directory)).digest('hex');
}

function replaceFile(file: string, content: string): void {
  const beside = `${file}.${randomBytes(6).toString('hex')}`;
  writeFileSync(beside, content, { mode: 0o600, flag: 'wx' });
  renameSync(beside, file);
}

/** @throws Error where git tracks a file in the directory, or can't say. */
function assertUntracked(directory: string): void {
  // In the directory itself, files that look like a bare repository would keep git from answering.
  const parent = dirname(directory);
  const prefix = runGit(parent, ['rev-parse', '--show-prefix'])?.replace(/\n$/, '');
  if (prefix === undefined) return;
  // The disk may take names that differ in case for the same.
  const pathspec = `:(top,icase,literal)${prefix}${basename(directory)}`;
  const [tracked] = runGit(parent, ['ls-files', '-z', '--full-name', '--', pathspec])!.split('\0');
  if (tracked)
    throw new Error(
      `git tracks ${tracked}: the state of local AWS in ${directory} came with the repository, and others may know its key. Remove it: git rm -rf ${shellWord(directory)}, ${ELSEWHERE}`,
    );
}

/** @throws Error where a path is a link, or another user's. */
function assertOwn(path: string): void {
  const stat = lstatSync(path);
  if (stat.isSymbolicLink()) throw new Error(`${path} is a symbolic link. Remove it: rm ${shellWord(path)}`);
  if (process.getuid && stat.uid !== process.getuid())
    throw new Error(`${path} belongs to another user. Remove it: rm -rf ${shellWord(path)}, ${ELSEWHERE}`);
}
