/** Bytes that wait, in blocks of this size: a piece of one byte costs one byte, not a Buffer. */
const BLOCK_BYTES = 64 * 1024;

/** Bytes in the order in which they came, without the pieces in which they came. */
export class ByteQueue {
  private readonly blocks: Buffer[] = [];
  /** Of the last block, bytes. */
  private used = BLOCK_BYTES;
  /** Bytes */
  length = 0;

  append(data: Buffer): void {
    this.length += data.length;
    for (let from = 0; from < data.length;) {
      if (this.used === BLOCK_BYTES) {
        this.blocks.push(Buffer.allocUnsafeSlow(BLOCK_BYTES));
        this.used = 0;
      }
      const copied = data.copy(this.blocks[this.blocks.length - 1], this.used, from);
      this.used += copied;
      from += copied;
    }
  }

  /** @returns the next bytes, at most a block; undefined where there are none. */
  take(): Buffer | undefined {
    if (!this.length) return undefined;
    const isLast = this.blocks.length === 1;
    // A copy: a few bytes must not keep a whole block.
    const bytes = isLast ? Buffer.from(this.blocks[0].subarray(0, this.used)) : this.blocks.shift()!;
    if (isLast) this.used = 0;
    this.length -= bytes.length;
    return bytes;
  }
}
