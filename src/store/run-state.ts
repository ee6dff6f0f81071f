import { hash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { machineState } from '../workspace/state';

/** What this machine keeps of a run. */
export interface RunState {
  /** The key that its record is signed with, where the store's secret could not be read. */
  key?: Buffer;
  /** The newest version of its record that was seen. */
  seen?: [attempt: number, beat: number];
}

/** @param place what tells the run from all others. */
export function readRunState(place: string[]): RunState {
  const { key, seen } = (readJson(fileOf('runs', place)) ?? {}) as { key?: unknown; seen?: unknown };
  const bytes = keyBytes(key);
  const isVersion = Array.isArray(seen) && seen.length === 2 && seen.every(Number.isSafeInteger);
  return { ...(bytes ? { key: bytes } : {}), ...(isVersion ? { seen: seen as [number, number] } : {}) };
}

export function writeRunState(place: string[], { key, seen }: RunState): void {
  writePrivate(fileOf('runs', place), { v: 1, key: key?.toString('base64'), seen });
}

/** The store's secret as this machine remembers it; null where it does not. */
export function readCachedSecret(place: string[]): Buffer | null {
  const { secret } = (readJson(fileOf('store-secrets', place)) ?? {}) as { secret?: unknown };
  return keyBytes(secret);
}

export function cacheSecret(place: string[], secret: Buffer): void {
  writePrivate(fileOf('store-secrets', place), { v: 1, secret: secret.toString('base64') });
}

/** 32 bytes as base64; null for anything else. */
export function keyBytes(text: unknown): Buffer | null {
  if (typeof text !== 'string' || !/^[A-Za-z0-9+/]{43}=$/.test(text)) return null;
  return Buffer.from(text, 'base64');
}

function fileOf(directory: string, place: string[]): string {
  return join(machineState(), directory, `${hash('sha256', JSON.stringify(place), 'hex').slice(0, 32)}.json`);
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return null;
  }
}

/** Whole or not at all. A machine that can't keep it asks again. */
function writePrivate(file: string, value: object): void {
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    const beside = `${file}.${process.pid}`;
    writeFileSync(beside, JSON.stringify(value), { mode: 0o600 });
    renameSync(beside, file);
  } catch {
    // It saves a question; a random key that is lost leaves its run's record unverified.
  }
}
