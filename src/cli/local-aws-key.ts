import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { shellWord } from '../report/shell-words';
import { createCacheFile } from '../system/cache-file';
import { machineState } from '../workspace/state';

export function keyFile(): string {
  return join(machineState(), 'local-aws-key');
}

/** A key outside of every workspace, random and created once. */
export function readKey(): string {
  const file = keyFile();
  try {
    createCacheFile(file, randomBytes(32).toString('hex'));
    const key = readFileSync(file, 'utf8');
    if (/^[0-9a-f]{64}$/.test(key)) return key;
  } catch (error) {
    throw new Error(
      `local AWS keeps the key that proves which state directories are its own in ${file}, which failed: ${(error as Error).message}. NX_EC2_CACHE_DIRECTORY names another directory for it.`,
      { cause: error },
    );
  }
  throw new Error(`${file} holds no key. Remove it for a new one: rm ${shellWord(file)}`);
}
