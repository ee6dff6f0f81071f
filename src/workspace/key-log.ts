import { join } from 'node:path';
import { appendCache, readCache, writeCache } from '../system/cache-file';
import { stateDirectory } from './state';

/** The identity of what a training is sent, as Nx was told it at one moment. */
export interface ReportedKey {
  /** When its computation began, ms since the epoch. */
  at: number;
  /** The digest of the settings that can change a training's result. */
  settings: string;
  /** The id of the snapshot. */
  snapshot: string;
  /** Of data in S3 that is part of the key, in the order of the configuration. */
  versions: string[];
}

/** The log is cut at this size, bytes: a line has some 200, and only the lines of commands that still run are read. */
const MAX_LOG_BYTES = 256 * 1024;

/** Remembers what Nx was told, for the executor that Nx starts afterwards. */
export function reportKey(workspaceRoot: string, projectRoot: string, key: ReportedKey): void {
  const file = logFile(workspaceRoot, projectRoot);
  const long = readCache(file, (bytes) => (bytes.length > MAX_LOG_BYTES ? bytes.toString() : null));
  if (long) writeCache(file, long.slice(-MAX_LOG_BYTES / 2));
  // Several processes append at once: one short write each. A line break first: what a killed one left unfinished must
  // not swallow it.
  appendCache(file, `\n${JSON.stringify(key)}\n`);
}

/** The keys that Nx got for a project since a time, ms since the epoch. An entry with a later time than now is of another clock. */
export function reportedKeys(workspaceRoot: string, projectRoot: string, since: number): ReportedKey[] {
  const text = readCache(logFile(workspaceRoot, projectRoot), (bytes) => bytes.toString());
  const now = Date.now();
  return (text ?? '').split('\n').flatMap((line) => {
    try {
      const key = JSON.parse(line) as ReportedKey;
      const valid =
        typeof key.settings === 'string' &&
        typeof key.snapshot === 'string' &&
        Array.isArray(key.versions) &&
        key.at >= since &&
        key.at <= now;
      return valid ? [key] : [];
    } catch {
      // A line that was cut.
      return [];
    }
  });
}

function logFile(workspaceRoot: string, projectRoot: string): string {
  return join(stateDirectory(workspaceRoot), 'keys', encodeURIComponent(projectRoot));
}
