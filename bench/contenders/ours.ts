import { join } from 'node:path';
import { rmSync } from 'node:fs';
import type { Contender, Course, Site, Timing } from './contender';
import { start, type Driving } from './driver';
import { runNx, startNx, stopDaemon } from './nx-process';
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

interface NxHow {
  /** Nx's own. */
  daemon?: boolean;
  options?: string[];
  signal?: AbortSignal;
}

/** What only ours is asked to do, beside what every contender does. */
export class OurCourse implements Course {
  private tree = '';
  private daemon = false;
  private readonly open: Terminal[] = [];

  /** @param ownInstance the one that it syncs to. */
  constructor(
    private readonly site: Site,
    private readonly ownInstance = 0,
  ) {
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

  /** `nx run model:<target>`, as it is typed, on this course's instance. */
  nx(target: string, { daemon = false, options = [], signal }: NxHow = {}): Terminal {
    const { instance, user } = this.common(this.ownInstance);
    const reach = [`--instance=${instance.id}`, ...(user ? [`--user=${user}`] : [])];
    const args = ['run', `model:${target}`, ...(target === 'nothing' ? [] : [...reach, ...options])];
    const env = { ...this.environment(), NX_DAEMON: String(daemon) };
    this.daemon ||= daemon;
    const terminal = new Terminal(startNx(args, { cwd: this.site.input.workspace, env, signal }), 'SIGTERM');
    this.open.push(terminal);
    return terminal;
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

  /** What the instance's disk is on this machine. */
  get disk(): string {
    return this.site.testbed.place.instances[this.ownInstance].disk;
  }

  target(): string {
    return join(this.tree, 'model');
  }

  close(): void {
    for (const terminal of this.open) terminal.kill();
    if (this.daemon) stopDaemon(this.site.input.workspace);
  }

  private async execute(executor: string, how: How): Promise<Timing> {
    this.lookByNx();
    const timing = await this.start(executor, how).done;
    this.tree = (JSON.parse(timing.out.trim().split('\n').pop()!) as { tree?: string }).tree ?? this.tree;
    return timing;
  }

  /** Before it starts an executor, nx has looked at the workspace's files, and keeps in .nx what it hashed. */
  private lookByNx(): void {
    runNx(['show', 'projects'], this.site.input.workspace);
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

  private start(
    executor: string,
    { instance = this.ownInstance, options, environment, endless, signal }: How,
  ): Driving {
    const { input } = this.site;
    const task: Task = {
      dist: join(input.workspace, 'node_modules/nx-ec2/dist'),
      executor,
      workspace: input.workspace,
      options: {
        json: true,
        ...this.common(instance),
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
