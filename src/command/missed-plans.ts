import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { readCache, writeCache } from '../system/cache-file';

/** After a command that got no plan, none is sent before its plan for this long, ms: at first, and at most. */
const FIRST_PAUSE_MS = 10 * 60_000;
const MAX_PAUSE_MS = 24 * 3_600_000;

const known = z.object({ v: z.literal(1), since: z.number(), pause: z.number().positive() });

/**
 * The instances on which the command of a tree got no plan in time: an instance that can't read the store, or files
 * that take long to scan, would make each sync wait again.
 */
export class MissedPlans {
  /** @param directory where this machine remembers them; undefined: it does not. @param bucket where the plans were. */
  constructor(
    private readonly directory: string | undefined,
    private readonly bucket: string,
  ) {}

  /** Whether a command for one of the instances is likely to get no plan again. */
  isExpected(tree: string, instances: readonly string[], now = Date.now()): boolean {
    return instances.some((instance) => {
      const found = this.read(tree, instance);
      // Also where the clock was set back.
      return found !== null && Math.abs(now - found.since) < found.pause;
    });
  }

  /** Remembers that a command got no plan on instances: each time in a row, for longer. */
  add(tree: string, instances: readonly string[], now = Date.now()): void {
    for (const instance of instances) {
      const file = this.file(tree, instance);
      const pause = Math.min(MAX_PAUSE_MS, 2 * (this.read(tree, instance)?.pause ?? FIRST_PAUSE_MS / 2));
      if (file !== undefined) writeCache(file, JSON.stringify({ v: 1, since: now, pause }));
    }
  }

  /** Forgets it for an instance whose command has got its plan. */
  remove(tree: string, instance: string): void {
    const file = this.file(tree, instance);
    if (this.read(tree, instance)) rmSync(file!, { force: true });
  }

  private read(tree: string, instance: string): z.infer<typeof known> | null {
    return readCache(this.file(tree, instance), (bytes) => known.parse(JSON.parse(bytes.toString())));
  }

  private file(tree: string, instance: string): string | undefined {
    if (this.directory === undefined) return undefined;
    const name = createHash('sha256')
      .update(JSON.stringify([this.bucket, tree, instance]))
      .digest('hex');
    return join(this.directory, name.slice(0, 32));
  }
}
