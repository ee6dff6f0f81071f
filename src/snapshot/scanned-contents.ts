/** The limit of the contents that wait for the upload, bytes. A file beyond it is read again when it is sent. */
const MAX_KEPT_BYTES = 32 * 1024 * 1024;

/**
 * The contents of small files that a scan has read, for an upload that begins while the scan is at work: each file is
 * read once, and what is sent is what was hashed.
 */
export class ScannedContents {
  private readonly kept = new Map<string, Buffer>();
  private bytes = 0;
  private closed = false;
  private wake: () => void = () => undefined;

  constructor(private readonly limit = MAX_KEPT_BYTES) {}

  /** @param data its bytes may change after this call. */
  add(sha256: string, data: Buffer): void {
    if (this.closed || this.kept.has(sha256) || this.bytes + data.length > this.limit) return;
    this.kept.set(sha256, Buffer.from(data));
    this.bytes += data.length;
    this.wake();
  }

  /** A content that is still kept, which is then kept no longer. */
  take(sha256: string): Buffer | undefined {
    const data = this.kept.get(sha256);
    if (!data) return undefined;
    this.kept.delete(sha256);
    this.bytes -= data.length;
    return data;
  }

  /** Takes the next one, as soon as there is one. @returns null after `close`. */
  async next(): Promise<[sha256: string, data: Buffer] | null> {
    for (;;) {
      if (this.closed) return null;
      for (const sha256 of this.kept.keys()) return [sha256, this.take(sha256)!];
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }

  /** Ends the wait of `next`, and adds no more contents. Those that are kept can still be taken. */
  close(): void {
    this.closed = true;
    this.wake();
  }
}
