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
    const course = new OurCourse(site);
    await course.warmNx();
    return course;
  },
};

interface How {
  instance?: number;
  dryRun?: boolean;
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

  /** In real life nx has looked at the workspace's files before it starts an executor. */
  async warmNx(): Promise<void> {
    await this.execute('remote-sync', { dryRun: true });
  }

  private async execute(executor: string, how: How): Promise<Timing> {
    const timing = await this.start(executor, how).done;
    this.tree = (JSON.parse(timing.out.trim().split('\n').pop()!) as { tree?: string }).tree ?? this.tree;
    return timing;
  }

  private start(executor: string, { instance = 0, dryRun, endless, signal }: How): Driving {
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
        ...(dryRun ? { dryRun } : {}),
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
