import type { Chunk } from '../../snapshot/chunk';
import { PackWriter } from '../../store/packs/pack';
import { PackUploads } from '../../store/packs/upload';
import { formatCount } from '../../report/units';
import { readVerified } from '../../snapshot/read-verified';
import type { SyncContext } from '../context';
import type { PackName } from '../../store/packs/index-format';

/** A chunk and where it is: a file of the workspace. */
export interface Piece {
  path: string;
  /** The content that it is a part of. */
  content: string;
  offset: number;
  chunk: Chunk;
}

/** Above this rate, bytes a second, the link is faster than good compression. */
const FAST_LINK_BYTES_PER_S = 20 * 1024 * 1024;
/** What is collected for one pack at the most, bytes before compression: a pack holds 16 MiB. */
const MAX_PACK_INPUT_BYTES = 14 * 1024 * 1024;
/** What compression is taken to leave until it was measured. */
const ASSUMED_COMPRESSION_RATIO = 0.35;
/** Packs that are being compressed while others are on their way. */
const MAX_PREPARED_PACKS = 1;

/** What an upload makes of the chunks that the store lacks. */
export interface Upload {
  /** Where each chunk will be. */
  packs: Map<string, PackName>;
  /** Settles when all of them are in the store. */
  sent: Promise<void>;
  /** As Transfer's. */
  nearlySent: (accepted: boolean) => Promise<void>;
  uploading: ReadonlySet<string>;
  /** Bytes that S3 has taken so far. */
  bytes: () => number;
}

const nothingToSend = (): Upload => ({
  packs: new Map(),
  sent: Promise.resolve(),
  nearlySent: () => Promise.resolve(),
  uploading: new Set(),
  bytes: () => 0,
});

/** Uploads what the store lacks, each chunk once, as packs. Ends when all packs are made; the last are on their way then. */
export async function uploadChunks(context: SyncContext, pieces: Piece[]): Promise<Upload> {
  if (!pieces.length) return nothingToSend();
  const packs = new Map<string, PackName>();
  const { printer, signal, transferOptions } = context;
  const unique = [...new Map(pieces.map((piece) => [piece.chunk[0], piece])).values()];
  const progress = printer.progress('Uploading', total(unique));
  let taken = 0;
  let stored = 0;
  const uploads = new PackUploads(context.store, context.keys, context.index, {
    signal,
    onSent: ({ bytes, chunks }) => {
      stored += bytes.length;
      taken += chunks.reduce((sum, [, size]) => sum + size, 0);
    },
    onProgress: (bytes) => progress.update(bytes),
    onWait: (why) => printer.line(`Upload interrupted (${why}); trying again.`),
  });
  const fast = () => uploads.rate > FAST_LINK_BYTES_PER_S;
  const writer = new PackWriter(() =>
    transferOptions.compression === 'auto' ? (fast() ? 1 : 6) : transferOptions.compression,
  );
  const begun: Promise<void>[] = [];
  const close = async () => {
    const closing = writer.finish().then(async (pack) => {
      if (!pack) return;
      for (const [chunk] of pack.chunks) packs.set(chunk, { sha256: pack.sha256, size: pack.bytes.length });
      await uploads.send(pack);
    });
    closing.catch(() => undefined);
    begun.push(closing);
    if (begun.length > MAX_PREPARED_PACKS) await begun.shift();
  };
  try {
    for (const { path, offset, chunk } of unique) {
      signal?.throwIfAborted();
      writer.add(chunk, readVerified(context.workspaceRoot, path, offset, chunk));
      const ratio = taken ? Math.max(0.02, stored / taken) : ASSUMED_COMPRESSION_RATIO;
      if (writer.waiting >= Math.min(MAX_PACK_INPUT_BYTES, uploads.packSize / ratio)) await close();
    }
    await close();
    await Promise.all(begun);
  } catch (error) {
    progress.end();
    // Wait for uploads that are under way, so that none outlives this call.
    await uploads.settle().catch(() => undefined);
    throw error;
  }
  const sent = uploads.settle().then(() => report(context, uploads.replaced));
  sent.finally(() => progress.end()).catch(() => undefined);
  return {
    packs,
    sent,
    nearlySent: (accepted) => uploads.waitUntilNearlySent(accepted),
    uploading: uploads.uploading,
    bytes: () => uploads.sent,
  };
}

export function total(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, { chunk }) => sum + chunk[1], 0);
}

function report({ printer }: SyncContext, replaced: string[]): void {
  if (!replaced.length) return;
  printer.warn(
    `${formatCount(replaced.length, 'pack')} in the store did not match ${replaced.length === 1 ? 'its name and was' : 'their names and were'} replaced: ${replaced[0]}`,
  );
}
