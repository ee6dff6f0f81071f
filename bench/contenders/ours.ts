import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { rmSync } from 'node:fs';
import { root } from '../programs';
import type { Contender, Course, Site, Timing } from './contender';
import { start, startNx, type Driving } from './driver';
import type { Task } from './ours-driver';
import { Terminal } from './terminal';
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
  /** What is asked of the executor beside what every measurement asks. */
  options?: Record<string, unknown>;
  environment?: Record<string, string>;
  /** It does not end with a success by itself. */
  endless?: boolean;
  signal?: AbortSignal;
}

/** As `start` has them of a training. */
const TRAINING_WORDS = ['--script=train.py', '--environment=none'];

/** What only ours is asked to do, beside what every contender does. */
export class OurCourse implements Course {
  private tree = '';
  private readonly open: Terminal[] = [];

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
    const timing = await this.execute('remote-train', { options: { rerun: true } });
    this.forgetArtifacts();
    return timing;
  }

  /** What a training brings back is no part of the input. */
  forgetArtifacts(): void {
    rmSync(join(this.site.input.source, 'artifacts'), { recursive: true, force: true });
  }

  /** The executor remote-watch at work. */
  async watch(signal?: AbortSignal): Promise<Watching> {
    const { input } = this.site;
    const watching = new Watching(this.start('remote-watch', { signal, endless: true }), input.source, this.target());
    this.open.push(watching);
    await watching.line(/^Watching\./);
    return watching;
  }

  /** An executor at work, for who reads what it prints. */
  begin(executor: string, how: How): Terminal {
    this.lookByNx();
    const terminal = new Terminal(this.start(executor, how));
    this.open.push(terminal);
    return terminal;
  }

  /** An executor from its first line to its last. */
  async end(executor: string, how: How): Promise<Timing & { out: string }> {
    return await this.start(executor, how).done;
  }

  /** `nx run model:<target>`, as it is typed, without Nx's daemon. */
  nx(target: string, options: string[] = []): Terminal {
    const args = ['run', `model:${target}`, ...options];
    const terminal = new Terminal(startNx(args, this.site.input.workspace, this.environment()));
    this.open.push(terminal);
    return terminal;
  }

  /** The options by which `nx run` reaches what `begin` reaches. */
  get reach(): string[] {
    const { bucket, instance, user } = this.common(0);
    return [`--bucket=${bucket}`, `--instance=${instance.id}`, ...(user ? [`--user=${user}`] : []), ...TRAINING_WORDS];
  }

  /** Syncs, and is killed as soon as so many bytes have gone over the client's link. */
  async killedAfter(bytes: number): Promise<void> {
    const { testbed } = this.site;
    const kill = new AbortController();
    const look = setInterval(async () => {
      if ((await testbed.observe()).client.up >= bytes) kill.abort();
    }, 20);
    await this.execute('remote-sync', { signal: kill.signal }).catch(() => undefined);
    clearInterval(look);
    if (!kill.signal.aborted) throw new Error('it was through before it could be killed');
  }

  target(): string {
    return join(this.tree, 'model');
  }

  close(): void {
    for (const terminal of this.open) terminal.kill();
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

  private environment(): Record<string, string> {
    const { testbed, directory } = this.site;
    return { ...testbed.place.environment, NX_DAEMON: 'false', XDG_CACHE_HOME: join(directory, 'cache') };
  }

  private common(instance: number) {
    return {
      bucket: 'bench',
      instance: { id: this.site.testbed.place.instances[instance].id },
      // As on an instance with a login user: who trains is not root.
      ...(process.getuid?.() === 0 ? { user: 'nobody' } : {}),
    };
  }

  private start(executor: string, { instance = 0, options, environment, endless, signal }: How): Driving {
    const { input } = this.site;
    const task: Task = {
      dist: join(root, 'dist'),
      executor,
      workspace: input.workspace,
      options: {
        json: true,
        ...this.common(instance),
        ...(executor === 'remote-train' ? { script: 'train.py', environment: 'none' } : {}),
        ...options,
      },
      endless,
    };
    return start('ours-driver', task, {
      cwd: input.workspace,
      env: { ...this.environment(), ...environment },
      signal,
    });
  }
}
