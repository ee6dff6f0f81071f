const OUTPUT_LIMIT = 24_000;
const TRUNCATED = '--output truncated--';

/** What a command writes to one stream, as far as the agent keeps it. */
export class Output {
  private readonly parts: Buffer[] = [];
  private size = 0;

  add(data: Buffer): void {
    if (this.size <= OUTPUT_LIMIT) this.parts.push(data);
    this.size += data.length;
  }

  text(): string {
    // The agent cuts what reaches the limit, not only what exceeds it.
    return this.size < OUTPUT_LIMIT
      ? String(Buffer.concat(this.parts))
      : truncated(Buffer.concat(this.parts), OUTPUT_LIMIT);
  }
}

export function cut(data: Buffer, limit: number): string {
  return data.length <= limit ? data.toString('utf8') : truncated(data, limit);
}

function truncated(data: Buffer, limit: number): string {
  return data.toString('utf8', 0, limit - TRUNCATED.length) + TRUNCATED;
}

/** Bytes of the JSON that Go writes: it escapes `<`, `>` and `&`, in six bytes each. */
export function goJsonSize(value: unknown): number {
  const json = JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, '\\u0000');
  return Buffer.byteLength(json);
}
