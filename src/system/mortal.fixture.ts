import { AsyncLocalStorage } from 'node:async_hooks';
import fs from 'node:fs';
import { sep } from 'node:path';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { DirectClient } from '../aws/direct/direct-client';

/** Thrown by a synchronous call of a process that is dead. An asynchronous one never settles. */
class Killed extends Error {}

const running = new AsyncLocalStorage<Mortal>();

/**
 * A process that is killed before one of its steps, simulated in this one. A step is a request to AWS, or a call that
 * changes a file. Once it is dead, nothing that it does has an effect. A file that it was writing has half of its data.
 */
export class Mortal {
  /** The steps that it began. */
  readonly steps: string[] = [];
  dead = false;
  private readonly timers = new Set<NodeJS.Timeout>();
  private readonly opened = new Set<fs.promises.FileHandle>();
  private readonly pending = new Set<Promise<unknown>>();
  private die!: () => void;
  private readonly death = new Promise<'killed'>((resolve) => (this.die = () => resolve('killed')));

  /**
   * @param directories below which files count.
   * @param last the number of the step, from 0 on, at which it is killed.
   */
  constructor(
    readonly directories: readonly string[],
    private readonly last = Infinity,
  ) {}

  /** Does the work as this process. */
  run<T>(work: () => Promise<T>): Promise<T | 'killed'> {
    const done = running.run(this, work);
    done.catch(() => undefined);
    // What the system had been asked for when the process died happens before anybody looks.
    const dead = this.death.then(async (killed) => {
      await Promise.allSettled(this.pending);
      return killed;
    });
    const alive = done.catch((error: unknown) => {
      if (this.dead) return dead;
      throw error;
    });
    return Promise.race([alive, dead]);
  }

  /** Remembers a change that the system makes after the call that asked for it. */
  keepPending(change: Promise<unknown>): void {
    this.pending.add(change);
    const forget = () => void this.pending.delete(change);
    change.then(forget, forget);
  }

  owns(path: unknown): boolean {
    return typeof path === 'string' && this.directories.some((directory) => path.startsWith(directory + sep));
  }

  /** @param torn what the step leaves if the process dies in it. */
  step(name: string, torn?: () => void): void {
    if (this.dead) throw new Killed();
    this.steps.push(name);
    if (this.steps.length <= this.last) return;
    torn?.();
    this.dead = true;
    for (const timer of this.timers) clearTimeout(timer);
    this.die();
    throw new Killed();
  }

  /** Stops what would outlive a dead process in this one. */
  keepTimer(timer: NodeJS.Timeout): NodeJS.Timeout {
    if (this.dead) clearTimeout(timer);
    else this.timers.add(timer);
    return timer;
  }

  keepOpened(file: fs.promises.FileHandle): void {
    this.opened.add(file);
  }

  async closeFiles(): Promise<void> {
    if (this.dead) await Promise.all([...this.opened].map((file) => file.close()));
  }
}

type Call = (...args: unknown[]) => unknown;

interface Hook {
  /** Whether a call with these arguments is a step. */
  when?: (args: unknown[], mortal: Mortal) => boolean;
  /** What the call leaves if the process dies in it. */
  torn?: (args: unknown[]) => void;
}

/** Lets processes die, until the returned function is called. */
export async function mortality(): Promise<() => Promise<void>> {
  const spies: jest.SpyInstance[] = [];
  const mortals = new Set<Mortal>();
  const write = fs.writeFileSync;
  const hook = (target: object, name: string, { when = () => true, torn }: Hook = {}) => {
    const real = Reflect.get(target, name) as Call;
    const spy = jest.spyOn(target as Record<string, Call>, name);
    spy.mockImplementation(function (this: unknown, ...args) {
      const mortal = running.getStore();
      if (mortal) mortals.add(mortal);
      if (mortal && when(args, mortal)) {
        try {
          mortal.step(typeof args[0] === 'string' ? `${name} ${args[0]}` : name, torn && (() => torn(args)));
        } catch (killed) {
          if (target === fs) throw killed;
          return new Promise(() => undefined);
        }
      }
      const result = real.apply(this, args);
      if (mortal && target === fs.promises) mortal.keepPending(result as Promise<unknown>);
      if (mortal && name === 'open')
        void (result as Promise<fs.promises.FileHandle>).then(
          (file) => mortal.keepOpened(file),
          () => undefined,
        );
      return result;
    });
    spies.push(spy);
  };
  const ours: Hook['when'] = ([path], mortal) => mortal.owns(path);
  const opensToWrite: Hook['when'] = ([path, flags = 'r'], mortal) =>
    mortal.owns(path) &&
    (typeof flags === 'number'
      ? (flags & (fs.constants.O_WRONLY | fs.constants.O_RDWR)) !== 0
      : /[wa+]/.test(String(flags)));
  const half =
    (flag: string) =>
    ([path, data, options]: unknown[]) => {
      const bytes = Buffer.from(data as string);
      write(path as string, bytes.subarray(0, bytes.length >> 1), { flag, ...(options as object) });
    };
  for (const [target, suffix] of [
    [fs, 'Sync'],
    [fs.promises, ''],
  ] as const) {
    for (const name of ['mkdir', 'rename', 'rm', 'rmdir', 'unlink', 'chmod', 'symlink', 'utimes'])
      hook(target, name + suffix, { when: ours });
    hook(target, `open${suffix}`, { when: opensToWrite });
    hook(target, `writeFile${suffix}`, { when: ours, torn: half('w') });
    hook(target, `appendFile${suffix}`, { when: ours, torn: half('a') });
  }
  hook(fs.promises, 'copyFile', { when: ([, to], mortal) => mortal.owns(to) });
  const opened = await fs.promises.open(__filename);
  for (const name of ['write', 'truncate', 'chmod']) hook(Object.getPrototypeOf(opened) as object, name);
  await opened.close();
  hook(fs, 'fdatasync');
  hook(NodeHttpHandler.prototype, 'handle');
  hook(DirectClient.prototype, 'call');
  for (const name of ['setTimeout', 'setInterval'] as const) {
    const real = global[name];
    const spy = jest.spyOn(global, name).mockImplementation(((...args: Parameters<typeof setTimeout>) => {
      const timer = real(...args);
      return running.getStore()?.keepTimer(timer) ?? timer;
    }) as typeof real);
    spies.push(spy);
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const before = signals.map((signal) => process.listeners(signal));
  return async () => {
    spies.forEach((spy) => spy.mockRestore());
    for (const [n, signal] of signals.entries())
      for (const listener of process.listeners(signal))
        if (!before[n].includes(listener)) process.off(signal, listener);
    for (const mortal of mortals) await mortal.closeFiles();
  };
}
