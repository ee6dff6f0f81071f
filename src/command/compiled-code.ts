import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { readCache, writeCache } from '../system/cache-file';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const known = z.object({ v: z.literal(1), runtime: sha256, compiled: sha256 });

/**
 * The compiled code of the runtime that instances keep, as they named it in their replies: docs/reference/formats.md,
 * "Compiled code". Only this machine's memory and a reply may name it: a store is written by others.
 */
export class CompiledCode {
  /** @param directory where this machine remembers it; undefined: it does not. @param root the `remoteRoot`. */
  constructor(
    private readonly directory: string | undefined,
    private readonly root: string | undefined,
  ) {}

  /**
   * What a command to instances names.
   * @returns undefined: the instances are not asked to keep any; null: they are, and none is known of one of them.
   */
  named(instances: readonly string[], runtime: string): string | null | undefined {
    if (this.directory === undefined) return undefined;
    const names = new Set(instances.map((instance) => this.read(instance, runtime)));
    // One command names one: code of an instance is not named to another that has not named it itself.
    if (names.size > 1 && !names.has(null)) return undefined;
    return names.size === 1 ? [...names][0] : null;
  }

  /** Remembers what an instance's reply names. */
  learn(instance: string, runtime: string, reply: object): void {
    const compiled = sha256.safeParse((reply as { compiled?: unknown }).compiled).data;
    if (this.directory === undefined || compiled === undefined) return;
    writeCache(this.file(instance), JSON.stringify({ v: 1, runtime, compiled }));
  }

  private read(instance: string, runtime: string): string | null {
    const found = readCache(this.file(instance), (bytes) => known.parse(JSON.parse(bytes.toString())));
    return found?.runtime === runtime ? found.compiled : null;
  }

  private file(instance: string): string {
    const name = createHash('sha256')
      .update(JSON.stringify([instance, this.root ?? null]))
      .digest('hex');
    return join(this.directory!, name.slice(0, 32));
  }
}
