import { constants, inflateSync } from 'node:zlib';
import { formatCount } from '../report/units';

/** JSON that is larger than this, bytes, is parsed only if it has no more values than this. */
export const MAX_JSON_VALUES = 8 * 1024 * 1024;

/** Something holds more than its limit allows. */
export class TooLarge extends Error {
  constructor(
    readonly limit: number,
    unit: string,
  ) {
    super(`it holds more than ${formatCount(limit, unit)}`);
  }
}

/**
 * Inflates a zlib stream. The only place that does: a few bytes may inflate to gigabytes.
 * @param limit bytes. @throws TooLarge where it inflates to more; Error for what is no zlib stream.
 */
export function inflate(data: Buffer, limit: number): Buffer {
  try {
    return inflateSync(data, { maxOutputLength: Math.max(1, limit) });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw new TooLarge(limit, 'inflated byte');
    throw error;
  }
}

/**
 * The first bytes of what a zlib stream inflates to, of its first 1,024 bytes at most, which inflate to no more than about
 * 1 MiB. @throws Error for what is no zlib stream.
 */
export function inflateStart(data: Buffer, length: number): Buffer {
  return inflateSync(data.subarray(0, 1024), { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, length);
}

/**
 * Parses JSON whose bytes are bounded already. Its values are bounded too: `[[],[],…` needs ten times its size in memory.
 * @throws TooLarge, SyntaxError
 */
export function parseJson(bytes: Buffer): unknown {
  if (bytes.length > MAX_JSON_VALUES) new ValueLimit().take(bytes);
  return JSON.parse(bytes.toString('utf8'));
}

/** What several JSON texts, whose values are kept together, may hold together. */
export class ValueLimit {
  private left = MAX_JSON_VALUES;

  /** @throws TooLarge, SyntaxError */
  parse(bytes: Buffer): unknown {
    this.take(bytes);
    return JSON.parse(bytes.toString('utf8'));
  }

  /** Counts what separates and opens values. What is inside a text counts too: no text of ours holds so many commas. */
  take(bytes: Buffer): void {
    let { left } = this;
    for (const byte of bytes) {
      if ((byte === 0x2c || byte === 0x5b || byte === 0x7b) && --left < 0) throw new TooLarge(MAX_JSON_VALUES, 'value');
    }
    this.left = left;
  }
}
