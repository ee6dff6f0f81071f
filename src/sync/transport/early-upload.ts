import type { ScannedContents } from '../../snapshot/scanned-contents';
import type { SyncContext } from '../context';
import { ChunkUpload } from './chunk-upload';

/**
 * Uploads what a scan reads while it is still reading: a pack leaves as soon as it is full. The store's indexes are read
 * first, so that nothing is sent that the store has; what the instances hold need not be known. An upload that fails
 * is not reported: the transfer that follows sends the same, and reports what is wrong.
 */
export class EarlyUpload {
  private readonly stop = new AbortController();
  private readonly upload: ChunkUpload;
  private readonly pumping: Promise<boolean>;
  private ended = false;

  constructor(
    context: SyncContext,
    private readonly contents: ScannedContents,
  ) {
    const { signal } = this.stop;
    this.upload = new ChunkUpload({
      ...context,
      signal: context.signal ? AbortSignal.any([context.signal, signal]) : signal,
    });
    this.pumping = this.pump(context).then(
      () => true,
      () => false,
    );
  }

  /**
   * Ends it when the scan has ended. Packs may still be on their way, and contents wait for their pack to be full.
   * @returns the upload, for what is still to be sent; undefined where it has failed.
   */
  async end(): Promise<ChunkUpload | undefined> {
    this.ended = true;
    this.contents.close();
    if (await this.pumping) return this.upload;
    await this.upload.settle();
    return undefined;
  }

  /** A content that was read and not sent. */
  take(sha256: string): Buffer | undefined {
    return this.contents.take(sha256);
  }

  /** Ends it, and what is on its way; does nothing after `end`. */
  async cancel(): Promise<void> {
    if (this.ended) return;
    this.stop.abort(new Error('the upload is not needed'));
    this.contents.close();
    await this.pumping;
    await this.upload.settle();
  }

  private async pump({ index }: SyncContext): Promise<void> {
    await index.refresh();
    for (;;) {
      const content = await this.contents.next();
      if (!content) return;
      const [sha256, data] = content;
      // Several files may have one content.
      if (!this.upload.has(sha256) && !index.find(sha256)) await this.upload.add([sha256, data.length], data);
    }
  }
}
