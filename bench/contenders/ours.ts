import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { rmSync } from 'node:fs';
import { root } from '../programs';
import type { Contender, Course, Site, Timing } from './contender';
import { start, type Driving } from './driver';
import type { Task } from './ours-driver';
import { Watching } from './watching';

export const ours: Contender = {
  name: 'nx-ec2',
  about: 'the executor remote-sync, from its first line to its last',
  missing: () => null,
  open: async (site) => {
    return new OurCourse(site);
  },
};

interface How {
  instance?: number;
  endless?: boolean;
  signal?: AbortSignal;
}

/** What only ours is asked to do, beside what every contender does. */
export class OurCourse implements Course {
  private tree = '';
  private watching?: Watching;

  constructor(private readonly site: Site) {
    rmSync(join(site.input.workspace, '.nx'), { recursive: true, force: true });
  }

  sync(signal?: AbortSignal): Promise<Timing> {
    return this.execute('remote-sync', { signal });
  }

  syncSecondInstance(): Promise<Timing> {
    return this.execute('remote-sync', { instance: 1 });
  }

  async train(): Promise<Timing> {
    const timing = await this.execute('remote-train', {});
    // What a training brings back is no part of the input.
    rmSync(join(this.site.input.source, 'artifacts'), { recursive: true, force: true });
    return timing;
  }

  /** The executor remote-watch at work. */
  async watch(signal?: AbortSignal): Promise<Watching> {
    const { input } = this.site;
    this.watching = new Watching(this.start('remote-watch', { signal, endless: true }), input.source, this.target());
    await this.watching.line(/^Watching;/);
    return this.watching;
  }

  /** Syncs, and is killed as soon as so many bytes have gone over the client's link. */
  async killedAfter(bytes: number): Promise<void> {
    const { ground } = this.site;
    const kill = new AbortController();
    const look = setInterval(async () => {
      if ((await ground.observe()).client.up >= bytes) kill.abort();
    }, 20);
    await this.execute('remote-sync', { signal: kill.signal }).catch(() => undefined);
    clearInterval(look);
    if (!kill.signal.aborted) throw new Error('it was through before it could be killed');
  }

  target(): string {
    return join(this.tree, 'model');
  }

  close(): void {
    this.watching?.kill();
  }

  private async execute(executor: string, how: How): Promise<Timing> {
    this.lookByNx();
    const timing = await this.start(executor, how).done;
    this.tree = (JSON.parse(timing.out.trim().split('\n').pop()!) as { tree?: string }).tree ?? this.tree;
    return timing;
  }

  /** Before it starts an executor, nx has looked at the workspace's files, and keeps in .nx what it hashed. */
  private lookByNx(): void {
    execFileSync(process.execPath, [join(root, 'node_modules/nx/dist/bin/nx.js'), 'show', 'projects'], {
      cwd: this.site.input.workspace,
      env: { ...process.env, NX_DAEMON: 'false', NX_NO_CLOUD: 'true' },
      stdio: 'ignore',
    });
  }

  private start(executor: string, { instance = 0, endless, signal }: How): Driving {
    const { ground, input, directory } = this.site;
    const { environment, instances } = ground.place;
    const task: Task = {
      dist: join(root, 'dist'),
      executor,
      workspace: input.workspace,
      options: {
        json: true,
        bucket: 'bench',
        instance: { id: instances[instance].id },
        // As on an instance with a login user: who trains is not root.
        ...(process.getuid?.() === 0 ? { user: 'nobody' } : {}),
        ...(executor === 'remote-train' ? { script: 'train.py', environment: 'none' } : {}),
      },
      endless,
    };
    return start('ours-driver', task, {
      cwd: input.workspace,
      env: { ...environment, NX_DAEMON: 'false', XDG_CACHE_HOME: join(directory, 'cache') },
      signal,
    });
  }
}
