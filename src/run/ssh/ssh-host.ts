import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, linkSync, lstatSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { Problem } from '../../report/problem';
import { writePrivate } from '../../system/cache-file';
import { machineState } from '../../workspace/state';

/** A host of the SSH configuration: the project and the options that its instance is found by. */
const sshHost = z.strictObject({
  version: z.literal(1),
  workspaceRoot: z.string(),
  project: z.string(),
  projectRoot: z.string(),
  user: z.string(),
  port: z.number().int().min(1).max(65535),
  run: z.string().optional(),
  node: z.number().optional(),
  /** Those of the target that decide on which instance it acts. */
  options: z.record(z.string(), z.unknown()),
});

export type SshHost = z.infer<typeof sshHost>;

/** The files of a host. */
export interface SshHostFiles {
  /** What `Include` reads. */
  config: string;
  host: string;
  /** The private key; ssh-keygen prints its public half. */
  key: string;
  knownHosts: string;
}

/** In the name of a host: nothing that is a pattern, or more than one word. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;
const INSTANCE_LINE = /^# (i-[0-9a-f]+)\n/;

/** Where the hosts of this machine are. */
export function sshDirectory(): string {
  return join(machineState(), 'ssh');
}

/** @throws Problem OPTION_INVALID where it can't be the name of a host. */
export function filesOf(name: string, directory = sshDirectory()): SshHostFiles {
  if (!NAME.test(name))
    throw new Problem('OPTION_INVALID', `--host: ${JSON.stringify(name)} can't be the name of a host.`, {
      next: 'Use letters, digits, dots, hyphens and underscores.',
    });
  return { config: join(directory, `${name}.conf`), ...filesBeside(join(directory, name, 'host.json')) };
}

/** The files of a host that has this one. */
export function filesBeside(host: string): Omit<SshHostFiles, 'config'> {
  const directory = dirname(host);
  return { host, key: join(directory, 'key'), knownHosts: join(directory, 'known_hosts') };
}

/** @throws Problem SSH_CONFIG */
export function readSshHost(file: string): SshHost {
  try {
    return sshHost.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (error) {
    throw new Problem('SSH_CONFIG', `The host of an SSH connection can't be read from ${file}.`, {
      next: 'Write it again: nx run <project>:remote-ssh-config',
      cause: error,
    });
  }
}

/** @throws Problem SSH_CONFIG where the name is that of another project's host. */
export function writeSshHost(name: string, files: SshHostFiles, host: SshHost): void {
  if (lstatSync(files.host, { throwIfNoEntry: false })) {
    const other = readSshHost(files.host);
    if (other.workspaceRoot !== host.workspaceRoot || other.project !== host.project)
      throw new Problem('SSH_CONFIG', `The host ${name} is that of ${other.project} in ${other.workspaceRoot}.`, {
        next: `Choose another name with --host, or remove ${dirname(files.host)}.`,
      });
  }
  writePrivate(files.host, `${JSON.stringify(host, null, 2)}\n`);
}

/** Creates the key of a host unless it is there. @throws Problem SSH_KEY */
export function createKey(file: string): void {
  if (lstatSync(file, { throwIfNoEntry: false })) return;
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const beside = `${file}.${randomBytes(6).toString('hex')}`;
  try {
    keygen('-q', '-t', 'ed25519', '-N', '', '-C', 'nx-ec2', '-f', beside);
    chmodSync(beside, 0o600);
    // Of several processes that do so at once, one key stays.
    linkSync(beside, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    for (const each of [beside, `${beside}.pub`]) rmSync(each, { force: true });
  }
}

/** The public half of a private key. @throws Problem SSH_KEY */
export function publicKeyOf(file: string): string {
  return keygen('-y', '-P', '', '-f', file).trim();
}

function keygen(...words: string[]): string {
  try {
    return execFileSync('ssh-keygen', words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    const { code, stderr } = error as NodeJS.ErrnoException & { stderr?: string };
    const isMissing = code === 'ENOENT';
    throw new Problem(
      'SSH_KEY',
      isMissing ? 'This machine has no ssh-keygen.' : `ssh-keygen failed: ${stderr?.trim()}`,
      {
        next: isMissing
          ? 'Install the OpenSSH client.'
          : 'Remove the directory of the host, and write it again: nx run <project>:remote-ssh-config',
        cause: error,
      },
    );
  }
}

/** The instance whose host keys are known; undefined: none's. */
export function knownInstance(file: string): string | undefined {
  try {
    return INSTANCE_LINE.exec(readFileSync(file, 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}

/** From now on the host has these keys alone. */
export function writeKnownHosts(file: string, name: string, instance: string, keys: readonly string[]): void {
  writePrivate(file, `# ${instance}\n${keys.map((key) => `${name} ${key}\n`).join('')}`);
}
