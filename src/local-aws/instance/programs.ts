import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LocalInstance } from './record';

/** By each of these names a machine is told to shut down. */
const POWER = ['shutdown', 'poweroff', 'halt', 'reboot'];

/**
 * Gives an instance, whose processes are this machine's, programs of its own where this machine's would mean the machine:
 * `shutdown` and its kin, and `cloud-init`. They take Python 3.
 * @param url the file that says where local AWS listens.
 */
export function installPrograms(disk: string, url: string, { id, secret }: LocalInstance): void {
  const bin = join(disk, 'bin');
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(disk, 'secret'), secret, { mode: 0o600 });
  const power = `exec python3 -I -S ${quote(join(__dirname, 'shutdown.py'))} ${quote(url)} ${id} ${quote(join(disk, 'secret'))}`;
  const write = (name: string, script: string) =>
    writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  for (const name of POWER) write(name, `${power} ${name} "$@"`);
  write(
    'systemctl',
    `case "$1" in poweroff|halt|reboot) ${power} "$@" ;; esac\nPATH=\${PATH#${quote(bin)}:} exec systemctl "$@"`,
  );
  write(
    'cloud-init',
    `exec python3 -I -S ${quote(join(__dirname, 'cloud_init.py'))} ${quote(join(disk, 'cloud', 'status'))} "$@"`,
  );
}

function quote(text: string): string {
  return `'${text.replace(/'/g, `'\\''`)}'`;
}
