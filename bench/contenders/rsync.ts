import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer, connect, type AddressInfo } from 'node:net';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { installed, root } from '../programs';
import { run, timed, type Contender } from './contender';
import { sshLink } from './ssh-over-ssm';

export const rsync: Contender = {
  name: 'rsync',
  about: 'rsync -az --delete to a daemon; no SSH, so none of its round trips',
  missing: () => (installed('rsync') ? null : 'rsync is not installed'),
  open: async ({ testbed, input, directory }) => {
    const target = join(directory, 'model');
    mkdirSync(target);
    const port = await freePort();
    const config = join(directory, 'rsyncd.conf');
    writeFileSync(
      config,
      `use chroot = no\n[model]\npath = ${target}\nread only = no\nuid = ${process.getuid!()}\ngid = ${process.getgid!()}\n`,
    );
    const daemon = spawn(
      'rsync',
      ['--daemon', '--no-detach', '--address=127.0.0.1', `--port=${port}`, `--config=${config}`],
      {
        stdio: 'ignore',
      },
    );
    await listening(port);
    return {
      sync: async (signal) => {
        const near = await testbed.tunnel(port);
        return timed(() =>
          run('rsync', ['-az', '--delete', `${input.source}/`, `rsync://127.0.0.1:${near}/model/`], { signal }),
        );
      },
      target: () => target,
      close: () => void daemon.kill(),
    };
  },
};

/** rsync through a program that stands in for ssh: SSH and the tunnel are a model, rsync is not. */
function overSsh(name: string, kept: boolean, about: string): Contender {
  return {
    name,
    about,
    missing: rsync.missing,
    open: async ({ testbed, input, directory }) => {
      const target = join(directory, 'model');
      mkdirSync(target);
      const port = await testbed.remoteShell();
      return {
        sync: async (signal) => {
          const near = await testbed.tunnel(port, false, sshLink(await testbed.profile(), kept));
          const shell = `python3 -I -S ${join(root, 'bench/contenders/remote-shell.py')} ${near}`;
          return timed(() =>
            run('rsync', ['-az', '--delete', '-e', shell, `${input.source}/`, `instance:${target}/`], { signal }),
          );
        },
        target: () => target,
        close: () => undefined,
      };
    },
  };
}

export const rsyncSsh = overSsh(
  'rsync-ssh',
  false,
  'rsync -az --delete over SSH over a Session Manager tunnel that is opened for it; a model of round trips',
);

export const rsyncSshKept = overSsh(
  'rsync-ssh-kept',
  true,
  'the same over a connection that is open already (ControlMaster)',
);

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function listening(port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const socket = connect(port, '127.0.0.1');
    const there = await new Promise((resolve) =>
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false)),
    );
    socket.destroy();
    if (there) return;
    await sleep(20);
  }
  throw new Error('the rsync daemon did not start');
}
