import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Instances } from './instances';
import type { LocalInstance } from './record';
import { Timers } from './timers';

/** Where the output of user data goes, on the instance's disk. */
export const USER_DATA_LOG = join('var', 'log', 'cloud-init-output.log');

/** Runs each instance's user data at its first boot, as cloud-init does: a script, as a process of the instance. */
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

  private run({ id, userData }: LocalInstance): void {
    const disk = this.instances.disk(id);
    const home = join(disk, 'cloud');
    const tell = (status: string) => {
      if (existsSync(home)) writeFileSync(join(home, 'status'), status);
    };
    // Once in an instance's life, not at each boot.
    if (existsSync(home)) return tell('done');
    mkdirSync(home, { recursive: true });
    mkdirSync(join(disk, 'var', 'log'), { recursive: true });
    const script = Buffer.from(userData ?? '', 'base64');
    const log = openSync(join(disk, USER_DATA_LOG), 'a');
    try {
      if (!script.length) return tell('done');
      if (script.toString('latin1', 0, 2) !== '#!') {
        writeFileSync(log, 'Local AWS runs user data that is a script, and this does not begin with #!.\n');
        return tell('error');
      }
      tell('running');
      const file = join(home, 'user-data');
      writeFileSync(file, script, { mode: 0o700 });
      const child = spawn(file, {
        cwd: disk,
        detached: true,
        stdio: ['ignore', log, log],
        env: { LANG: 'C.UTF-8', ...this.instances.environment(id) },
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
