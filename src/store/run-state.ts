import { hash } from 'node:crypto';
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readCache, writeCache } from '../system/cache-file';
import { machineState } from '../workspace/state';

/** What this machine keeps of a run. */
export interface RunState {
  /** In the place of the store's secret, where that could not be read. */
  secret?: Buffer;
  /** The newest version of its record that was seen. */
  seen?: [attempt: number, heartbeat: number];
}

/** What is kept of a run is removed when it was not written for this long, ms: the store keeps most runs for 90 days. */
const KEPT_MS = 180 * 24 * 3600_000;

/** Directories whose old files this process has removed. */
const swept = new Set<string>();

/** @param place what tells the run from all others. */
export function readRunState(place: string[]): RunState {
  const { secret, seen } = (readJson(fileOf('runs', place)) ?? {}) as { secret?: unknown; seen?: unknown };
  const bytes = keyBytes(secret);
  const isVersion = Array.isArray(seen) && seen.length === 2 && seen.every(Number.isSafeInteger);
  return { ...(bytes ? { secret: bytes } : {}), ...(isVersion ? { seen: seen as [number, number] } : {}) };
}

export function writeRunState(place: string[], { secret, seen }: RunState): void {
  sweep(join(machineState(), 'runs'));
  // A random secret that can't be kept leaves its run's record unverified; all else only saves a question.
  writeCache(fileOf('runs', place), JSON.stringify({ v: 1, secret: secret?.toString('base64'), seen }));
}

/** The store's secret as this machine remembers it; null where it does not. */
export function readCachedSecret(place: string[]): Buffer | null {
  const { secret } = (readJson(fileOf('store-secrets', place)) ?? {}) as { secret?: unknown };
  return keyBytes(secret);
}

export function cacheSecret(place: string[], secret: Buffer): void {
  writeCache(fileOf('store-secrets', place), JSON.stringify({ v: 1, secret: secret.toString('base64') }));
}

/** 32 bytes as base64; null for anything else. */
export function keyBytes(text: unknown): Buffer | null {
  if (typeof text !== 'string' || !/^[A-Za-z0-9+/]{43}=$/.test(text)) return null;
  return Buffer.from(text, 'base64');
}

function fileOf(directory: string, place: string[]): string {
  return join(machineState(), directory, `${hash('sha256', JSON.stringify(place), 'hex').slice(0, 32)}.json`);
}

/** Removes what is old from a directory, once for each process: each run that was followed leaves a file. */
function sweep(directory: string): void {
  if (swept.has(directory)) return;
  swept.add(directory);
  try {
    for (const name of readdirSync(directory)) {
      const file = join(directory, name);
      if (Date.now() - statSync(file).mtimeMs > KEPT_MS) rmSync(file, { force: true });
    }
  } catch {
    // It is not there yet, or another process is removing the same files.
  }
}

/** null: there is none. */
function readJson(file: string): unknown {
  return readCache<unknown>(file, (bytes) => JSON.parse(bytes.toString()));
}
