import { existsSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { DirectoryWatcher } from './directory-watcher';
import { NEVER } from './never-sent';

/** What happened to files since somebody asked last. */
export interface ChangeBatch {
  /** Workspace-relative paths that came, went or changed; null: any may have. */
  paths: ReadonlySet<string> | null;
  /** When the first of it was noticed, by `performance.now()`. */
  since: number;
}

export interface Scope {
  /** Absolute. */
  workspaceRoot: string;
  /** Workspace-relative directories and files. What lies directly in the workspace's root is always looked at. */
  places: readonly string[];
  /** Directories to leave alone. */
  except: readonly string[];
  /** Files in these directories that are looked at all the same. */
  tracked?: readonly string[];
  /** File events are not available, and why. */
  onLoss: (why: string) => void;
}

/** A burst ends when nothing happened for so long, ms, and at the latest after so long. */
const BATCH_QUIET_MS = 25;
const MAX_BURST_MS = 1_000;
/** From so many paths on, somebody may be at it who says when he is done: git, by its lock. */
const BULK_PATHS = 50;
const GIT_TIMEOUT_MS = 15_000;
/** More paths than these are any. */
const MAX_PATHS = 5_000;
/** Without file events, everything is looked at so often, ms. */
const POLL_MS = 3_000;

/**
 * File events of the directories in which something may change that travels. A hint: what really changed, a scan tells.
 * Directories alone are watched, since each tells of its files, and a system grants some ten thousand watches.
 */
export class FileEvents {
  private paths = new Set<string>();
  private any = false;
  private since = 0;
  private last = 0;
  private lost = false;
  private wake: () => void = () => undefined;
  private readonly watcher: DirectoryWatcher;

  /** Everything is watched when it returns. */
  constructor(private readonly scope: Scope) {
    this.watcher = new DirectoryWatcher({
      accepts: (directory) => isWithin(scope, directory),
      onPath: (path) => this.notice(path),
      onDirectory: () => this.note(null),
      onError: (error) => this.failed(error),
    });
    this.watcher.add(scope.workspaceRoot);
  }

  /** The next burst, when it is over; null where `ms` pass without one. */
  async next(ms: number, signal?: AbortSignal): Promise<ChangeBatch | null> {
    await this.something(this.lost ? Math.min(ms, POLL_MS) : ms, signal);
    if (this.lost) this.note(null);
    if (!this.since) return null;
    const age = () => performance.now() - this.since;
    // What is left of it: a save is several events within a millisecond or two, and must not wait twice.
    const left = () => BATCH_QUIET_MS - (performance.now() - this.last);
    while (left() > 0 && age() < MAX_BURST_MS) await this.sleep(left(), signal);
    const lock = join(this.scope.workspaceRoot, '.git', 'index.lock');
    const many = () => this.any || this.paths.size > BULK_PATHS;
    while (many() && age() < GIT_TIMEOUT_MS && existsSync(lock)) await this.sleep(BATCH_QUIET_MS, signal);
    const batch: ChangeBatch = { paths: this.any ? null : this.paths, since: this.since };
    [this.paths, this.any, this.since] = [new Set(), false, 0];
    return batch;
  }

  close(): void {
    this.watcher.close();
  }

  private failed({ code, message }: NodeJS.ErrnoException): void {
    if (this.lost || !/^(ENOSPC|EMFILE|ENFILE)$/.test(code ?? '')) return;
    this.lost = true;
    this.scope.onLoss(message);
    this.wake();
  }

  private notice(absolute: string): void {
    const path = toPath(this.scope, absolute);
    if (!isLeftAlone(this.scope, path)) this.note(path);
  }

  private note(path: string | null): void {
    this.last = performance.now();
    this.since ||= this.last;
    this.any ||= path === null || this.paths.size >= MAX_PATHS;
    if (path !== null && !this.any) this.paths.add(path);
    this.wake();
  }

  private async something(ms: number, signal?: AbortSignal): Promise<void> {
    if (this.since) return;
    const woken = new AbortController();
    this.wake = () => woken.abort();
    await this.sleep(ms, signal, woken.signal);
    this.wake = () => undefined;
  }

  private sleep(ms: number, signal?: AbortSignal, woken?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        if (signal?.aborted) reject(signal.reason);
        else resolve();
      };
      const timer = setTimeout(done, ms);
      signal?.addEventListener('abort', done, { once: true });
      woken?.addEventListener('abort', done, { once: true });
    });
  }
}

function toPath({ workspaceRoot }: Scope, absolute: string): string {
  const path = relative(workspaceRoot, absolute);
  return sep === '/' ? path : path.split(sep).join('/');
}

/** Whether a directory is one of the places, lies in one, or leads to one. */
function isWithin(scope: Scope, absolute: string): boolean {
  const path = toPath(scope, absolute);
  if (path === '') return true;
  if (isLeftAlone(scope, path)) return false;
  return scope.places.some((place) => isBelow(path, place) || isBelow(place, path));
}

function isLeftAlone({ places, except, tracked = [] }: Scope, path: string): boolean {
  // A directory above a tracked file has to be watched.
  if (except.some((each) => isBelow(path, each)) && !tracked.some((each) => isBelow(each, path))) return true;
  const hidden = path.split('/').some((part) => NEVER.has(part));
  // Unless it is named itself, or leads to what is.
  return (
    hidden &&
    !places.some(
      (place) => place.split('/').some((part) => NEVER.has(part)) && (isBelow(path, place) || isBelow(place, path)),
    )
  );
}

function isBelow(path: string, directory: string): boolean {
  return directory === '.' || directory === '' || path === directory || path.startsWith(`${directory}/`);
}
