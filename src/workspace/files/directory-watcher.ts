import { lstatSync, readdirSync, watch, type FSWatcher } from 'node:fs';
import { join } from 'node:path';

export interface DirectoryWatcherOptions {
  /** Whether a directory is watched. Those in it are not asked about where it is not. */
  accepts: (directory: string) => boolean;
  /** Something happened to this path. */
  onPath: (path: string) => void;
  /** A directory came while others were watched already: what is in it had no events. */
  onDirectory: () => void;
  /** The system grants no watch: no more of them, or no permission to read this directory. */
  onError: (error: NodeJS.ErrnoException) => void;
}

/**
 * Watches directories and all those in them, with those that come later. A directory is watched before it is listed and
 * before it is announced, so nothing can happen in it unseen. A directory that takes the place of another is watched
 * anew. Links are not followed. All paths are absolute.
 */
export class DirectoryWatcher {
  private readonly watchers = new Map<string, FSWatcher>();

  constructor(private readonly options: DirectoryWatcherOptions) {}

  /** Watches a directory and those in it. */
  add(directory: string): void {
    if (this.watchers.has(directory) || !this.options.accepts(directory) || !this.watch(directory)) return;
    for (const path of directoriesIn(directory)) this.add(path);
  }

  close(): void {
    for (const watcher of this.watchers.values()) watcher.close();
    this.watchers.clear();
  }

  /** @returns false where that can't be done: the directory may be gone again. */
  private watch(directory: string): boolean {
    try {
      const watcher = watch(directory, (event, name) => this.happened(directory, event, name));
      watcher.on('error', this.options.onError);
      this.watchers.set(directory, watcher);
      return true;
    } catch (error) {
      this.options.onError(error as NodeJS.ErrnoException);
      return false;
    }
  }

  private happened(directory: string, event: string, name: string | null): void {
    const path = name === null ? directory : join(directory, name);
    this.options.onPath(path);
    if (event !== 'rename' || name === null) return;
    // What has this name now, if anything, is another one.
    this.remove(path);
    if (!isDirectory(path)) return;
    this.add(path);
    if (this.watchers.has(path)) this.options.onDirectory();
  }

  private remove(directory: string): void {
    if (!this.watchers.has(directory)) return;
    for (const [path, watcher] of this.watchers) {
      if (path !== directory && !path.startsWith(join(directory, '/'))) continue;
      watcher.close();
      this.watchers.delete(path);
    }
  }
}

function isDirectory(path: string): boolean {
  try {
    return lstatSync(path).isDirectory();
  } catch {
    return false;
  }
}

function directoriesIn(directory: string): string[] {
  try {
    const entries = readdirSync(directory, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(directory, name));
  } catch {
    return [];
  }
}
