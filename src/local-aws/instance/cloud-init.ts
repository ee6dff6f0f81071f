import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Instances } from './instances';
import { limited } from './limited';
import type { LocalInstance } from './record';
import { orSay, Timers } from './timers';

/** Where the output of user data goes, on the instance's disk. */
export const USER_DATA_LOG = join('var', 'log', 'cloud-init-output.log');

/** Has each instance's user data done as cloud-init does, by a process of the instance: `cloud_init.py`. */
export class CloudInit {
  private readonly timers = new Timers();

  constructor(private readonly instances: Instances) {
    instances.watchers.push((instance, event) => {
      if (event === 'launched' || event === 'started') this.boot(instance);
      else this.timers.clear(instance.id);
    });
  }

  /** Those whose boot a restart of local AWS came between. */
  resume(): void {
    for (const instance of this.instances.all()) if (instance.state === 'running') this.boot(instance);
  }

  close(): void {
    this.timers.close();
  }

  private boot(instance: LocalInstance): void {
    this.timers.at(instance.id, this.instances.booted(instance), () => this.run(instance));
  }

  private run(instance: LocalInstance): void {
    const { id, userData } = instance;
    const disk = this.instances.disk(id);
    const home = join(disk, 'cloud');
    const tell = (status: string) => {
      if (existsSync(home)) orSay(() => writeFileSync(join(home, 'status'), status));
    };
    mkdirSync(home, { recursive: true });
    mkdirSync(join(disk, 'var', 'log'), { recursive: true });
    if (!userData) return tell('done');
    tell('running');
    writeFileSync(join(home, 'user-data'), Buffer.from(userData, 'base64'));
    const log = openSync(join(disk, USER_DATA_LOG), 'a');
    try {
      const program = join(__dirname, 'cloud_init.py');
      const [file, ...args] = limited(['python3', '-I', '-S', program, join(home, 'status'), 'boot']);
      const child = spawn(file, args, {
        cwd: disk,
        detached: true,
        stdio: ['ignore', log, log],
        env: {
          LANG: 'C.UTF-8',
          INSTANCE_ID: id,
          ...this.instances.environment(id),
        },
      });
      child.on('error', () => tell('error'));
      child.on('exit', (code) => {
        // With the instance gone, or booting again, this is not its end.
        if (code !== null) tell(code === 0 ? 'done' : 'error');
      });
    } finally {
      closeSync(log);
    }
  }
}
