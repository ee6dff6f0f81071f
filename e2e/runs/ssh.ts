import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { World } from '../worlds';
import { canRunSshd, Sshd } from '../../src/run/ssh/sshd.fixture';
import { begin, TRAINING } from './training';

const start = promisify(execFile);

/** The SSH client of OpenSSH, with the configuration that the target writes. */
export function ssh(at: () => World): void {
  const withSshd = canRunSshd ? it.concurrent : it.skip;
  withSshd('leads ssh to the instance of a project, from any directory', async () => {
    const world = at();
    const { nx, aws } = world;
    const instance = begin(world, 'ssh', TRAINING, {});
    const sshd = await Sshd.start(aws.instances.metadataUrl(instance));
    try {
      const written = nx.run(['ssh:remote-ssh-config', `--port=${sshd.port}`, '--user=root', '--json']);
      await written.ends(0);
      expect(written.result).toMatchObject({ success: true, host: 'nx-ec2-ssh', instance });
      const config = String((written.result as { config?: unknown }).config);
      const options = { cwd: '/', env: { PATH: process.env.PATH, ...aws.environment } };
      const { stdout } = await start('ssh', ['-F', config, 'nx-ec2-ssh', 'echo "$USER"'], options);
      expect(stdout).toBe('root\n');
    } finally {
      await sshd.close();
    }
  });
}
