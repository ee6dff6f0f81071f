import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { createServer } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { until } from '../../system/until.fixture';

const PROGRAM = '/usr/sbin/sshd';

/** An SSH server takes the program that gives it keys only from root, and logs in others only as root. */
export const canRunSshd = process.getuid?.() === 0 && existsSync(PROGRAM);

/** A real SSH server of OpenSSH on 127.0.0.1. It asks the metadata service of an instance for keys, as with EC2 Instance Connect. */
export class Sshd {
  port = 0;
  private child?: ChildProcess;
  // Each directory above the program must be root's alone.
  private readonly directory = mkdtempSync(join(homedir(), '.nx-ec2-sshd-'));
  private log = '';

  static async start(metadataUrl: string): Promise<Sshd> {
    const sshd = new Sshd();
    await sshd.run(metadataUrl);
    return sshd;
  }

  private async run(metadataUrl: string): Promise<void> {
    const at = (name: string) => join(this.directory, name);
    mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', at('host_key')]);
    writeFileSync(at('keys.mjs'), KEYS.replace('URL', metadataUrl));
    writeFileSync(at('keys.sh'), `#!/bin/sh\nexec '${process.execPath}' '${at('keys.mjs')}' "$1"\n`);
    chmodSync(at('keys.sh'), 0o755);
    this.port = await freePort();
    writeFileSync(
      at('config'),
      `ListenAddress 127.0.0.1:${this.port}
HostKey ${at('host_key')}
PidFile none
AuthorizedKeysFile none
AuthorizedKeysCommand ${at('keys.sh')} %u
AuthorizedKeysCommandUser root
PermitRootLogin yes
PasswordAuthentication no
UsePAM no
Subsystem sftp internal-sftp
`,
    );
    this.child = spawn(PROGRAM, ['-D', '-e', '-f', at('config')], { stdio: ['ignore', 'ignore', 'pipe'] });
    this.child.stderr!.on('data', (data) => (this.log += String(data)));
    await until(() => accepts(this.port), { what: () => this.log });
  }

  async close(): Promise<void> {
    if (this.child && this.child.exitCode === null) {
      this.child.kill();
      await once(this.child, 'exit');
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

const KEYS = `
const url = 'URL/latest/';
const token = await fetch(url + 'api/token', { method: 'PUT', headers: { 'x-aws-ec2-metadata-token-ttl-seconds': '60' } });
const headers = { 'x-aws-ec2-metadata-token': await token.text() };
const keys = await fetch(url + 'meta-data/managed-ssh-keys/active-keys/' + process.argv[2] + '/', { headers });
if (keys.ok) process.stdout.write(await keys.text());
`;

/** A port that nothing listens on at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => resolve(false));
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}
