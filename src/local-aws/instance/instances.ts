import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export type InstanceState = 'pending' | 'running' | 'stopped' | 'terminated';

export interface LocalInstance {
  id: string;
  state: InstanceState;
  type: string;
  image: string;
  tags: Record<string, string>;
  /** ms since the epoch. */
  launched: number;
  clientToken?: string;
}

/** The variable that marks every process of an instance, so that its end can find them all. */
export const MARK = 'NX_EC2_LOCAL_INSTANCE';

/** Instances are records with a directory each, which is their disk, and processes of this machine. */
export class Instances {
  private readonly known = new Map<string, LocalInstance>();

  /** @param boot from a launch to the agent being online, ms; half of it the instance is pending. */
  constructor(
    private readonly directory: string,
    private readonly boot: number,
  ) {
    mkdirSync(directory, { recursive: true });
    const file = join(directory, 'instances.json');
    if (existsSync(file))
      for (const each of JSON.parse(readFileSync(file, 'utf8')) as LocalInstance[]) this.known.set(each.id, each);
  }

  all(): LocalInstance[] {
    return [...this.known.values()];
  }

  get(id: string): LocalInstance | undefined {
    return this.known.get(id);
  }

  /** Its state as EC2 tells it at this moment. */
  state({ state, launched }: LocalInstance): InstanceState {
    return state === 'running' && Date.now() < launched + this.boot / 2 ? 'pending' : state;
  }

  /** Whether its agent takes commands. */
  online(id: string): boolean {
    const instance = this.known.get(id);
    return instance?.state === 'running' && Date.now() >= instance.launched + this.boot;
  }

  launch(of: {
    type?: string;
    image?: string;
    tags?: Record<string, string>;
    clientToken?: string;
    booted?: boolean;
  }): LocalInstance {
    const instance: LocalInstance = {
      id: `i-${randomBytes(9).toString('hex').slice(0, 17)}`,
      state: 'running',
      type: of.type ?? 't3.micro',
      image: of.image ?? 'ami-00000000000000000',
      tags: of.tags ?? {},
      launched: Date.now() - (of.booted ? this.boot : 0),
      clientToken: of.clientToken,
    };
    this.known.set(instance.id, instance);
    mkdirSync(this.disk(instance.id), { recursive: true });
    this.save();
    return instance;
  }

  /** Changes the state; whatever leaves `running` ends the instance's processes, and `terminated` takes its disk. */
  change(instance: LocalInstance, state: InstanceState): void {
    const before = instance.state;
    // First the state: what its processes leave is not reported by an agent that is gone.
    instance.state = state;
    if (before === 'running') this.endProcesses(instance.id);
    if (state === 'running' && before !== 'running') instance.launched = Date.now();
    if (state === 'terminated') rmSync(this.disk(instance.id), { recursive: true, force: true });
    this.save();
  }

  tag(instance: LocalInstance, tags: Record<string, string>): void {
    Object.assign(instance.tags, tags);
    this.save();
  }

  disk(id: string): string {
    return join(this.directory, id);
  }

  close(): void {
    for (const { id, state } of this.known.values()) if (state === 'running') this.endProcesses(id);
  }

  /** Every process that was ever started in the instance, also one that left its session and its parent. */
  processes(id: string): number[] {
    return marked(id);
  }

  /** Ends all of them. */
  endProcesses(id: string): void {
    for (let rounds = 0; rounds < 20; rounds++) {
      const found = this.processes(id);
      if (!found.length) return;
      for (const pid of found) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // It ended by itself.
        }
      }
    }
  }

  private save(): void {
    const file = join(this.directory, 'instances.json');
    writeFileSync(`${file}.tmp`, JSON.stringify(this.all(), null, 2));
    renameSync(`${file}.tmp`, file);
  }
}

function marked(id: string): number[] {
  const mark = `${MARK}=${id}`;
  if (process.platform === 'linux') {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(mark);
        } catch {
          return false;
        }
      })
      .map(Number);
  }
  return execFileSync('ps', ['-A', '-E', '-ww', '-o', 'pid=,command='], { encoding: 'utf8', maxBuffer: 1 << 26 })
    .split('\n')
    .filter((line) => line.includes(mark))
    .map((line) => parseInt(line, 10))
    .filter((pid) => pid !== process.pid);
}
