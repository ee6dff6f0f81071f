import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { Problem } from '../../report/problem';

const MAX_LINKS = 40;
const MAX_CONFIG_BYTES = 16 * 1024 * 1024;

/** The user's SSH configuration: ssh looks for it in the home directory of the account, whatever HOME says. */
export function userConfig(): string {
  let home: string;
  try {
    home = userInfo().homedir;
  } catch {
    // The user has no account, as in some containers.
    home = homedir();
  }
  return join(home, '.ssh', 'config');
}

/**
 * Puts a line at the begin of a user's SSH configuration, unless it is there: below a `Host` it would hold for that host only.
 * All else in the file stays byte for byte, and so do its mode, its owner, and links that lead to it.
 * @returns whether the file was changed.
 * @throws Problem SSH_CONFIG, and what the file system throws; the file is then as it was.
 */
export function addInclude(file: string, line: string): boolean {
  const target = followed(file);
  const stat = statSync(target, { throwIfNoEntry: false });
  if (stat && (!stat.isFile() || stat.size > MAX_CONFIG_BYTES))
    throw new Problem('SSH_CONFIG', `${target} is not a file that SSH could read its configuration from.`);
  const before = stat ? readFileSync(target) : Buffer.alloc(0);
  if (hasLine(before.toString('latin1'), Buffer.from(line).toString('latin1'))) return false;
  mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
  const beside = `${target}.${randomBytes(6).toString('hex')}`;
  try {
    const gap = before.length ? '\n\n' : '\n';
    writeFileSync(beside, Buffer.concat([Buffer.from(`${line}${gap}`), before]), { mode: 0o600, flag: 'wx' });
    if (stat) {
      if (stat.uid !== process.getuid?.() || stat.gid !== process.getgid?.()) chownSync(beside, stat.uid, stat.gid);
      chmodSync(beside, stat.mode & 0o7777);
    }
    renameSync(beside, target);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
  return true;
}

/** Whether a line is before the first host. */
function hasLine(text: string, line: string): boolean {
  for (const each of text.split('\n')) {
    if (/^\s*(host|match)[\s="]/i.test(each)) return false;
    if (each.trim() === line) return true;
  }
  return false;
}

/** The file that a path leads to by symbolic links, whether it is there or not. */
function followed(file: string): string {
  for (let links = 0; lstatSync(file, { throwIfNoEntry: false })?.isSymbolicLink(); links++) {
    if (links === MAX_LINKS) throw new Problem('SSH_CONFIG', `${file} is a circle of symbolic links.`);
    file = resolve(dirname(file), readlinkSync(file));
  }
  return file;
}
