import type { Chunk } from '../snapshot/chunk';
import { PackWriter } from '../store/pack';
import { PackUploads } from '../store/upload';
import { formatCount } from '../report/units';
import { readVerified } from './read-verified';
import type { SyncContext } from './strategy';

/** A chunk and where it is: a file of the workspace. */
export interface Piece {
  path: string;
  /** The content that it is a part of. */
  content: string;
  offset: number;
  chunk: Chunk;
}

/** Above this rate, bytes a second, the link is faster than good compression. */
const FAST_LINK = 20 * 1024 * 1024;
/** What is collected for one pack at the most, bytes before compression: a pack holds 16 MiB. */
const MOST = 14 * 1024 * 1024;
/** What compression is taken to leave until it was measured. */
const GUESS = 0.35;
/** Packs that are being compressed while others are on their way. */
const BEGUN = 2;

/** Uploads what the store lacks, each chunk once, as packs; ends when all of it is there. */
export async function uploadChunks(
  context: SyncContext,
  pieces: Piece[],
): Promise<{ packs: Set<string>; bytes: number }> {
  const { reporter, signal, travel } = context;
  const packs = new Set<string>();
  if (!pieces.length) return { packs, bytes: 0 };
  const unique = [...new Map(pieces.map((piece) => [piece.chunk[0], piece])).values()];
  const total = unique.reduce((sum, { chunk }) => sum + chunk[1], 0);
  const progress = reporter.progress('Uploading', total);
  let taken = 0;
  let stored = 0;
  const uploads = new PackUploads(context.store, context.keys, context.index, {
    signal,
    onSent: ({ sha256, bytes, chunks }) => {
      packs.add(sha256);
      stored += bytes.length;
      taken += chunks.reduce((sum, [, size]) => sum + size, 0);
      progress.update(taken);
    },
    onWait: (why) => reporter.line(`Upload interrupted (${why}); trying again.`),
  });
  const fast = () => uploads.rate > FAST_LINK;
  const writer = new PackWriter(() => (travel.compression === 'auto' ? (fast() ? 1 : 6) : travel.compression));
  const begun: Promise<void>[] = [];
  const close = async () => {
    const closing = writer.finish().then((pack) => (pack ? uploads.send(pack) : undefined));
    closing.catch(() => undefined);
    begun.push(closing);
    if (begun.length > BEGUN) await begun.shift();
  };
  try {
    for (const { path, offset, chunk } of unique) {
      signal?.throwIfAborted();
      writer.add(chunk, readVerified(context.workspaceRoot, path, offset, chunk));
      const ratio = taken ? Math.max(0.02, stored / taken) : GUESS;
      if (writer.waiting >= Math.min(MOST, uploads.packSize / ratio)) await close();
    }
    await close();
    await Promise.all(begun);
    await uploads.settle();
  } finally {
    progress.end();
  }
  if (uploads.replaced.length)
    reporter.warn(
      `${formatCount(uploads.replaced.length, 'pack')} in the store held something else than its name says and was replaced: ${uploads.replaced[0]}`,
    );
  return { packs, bytes: uploads.sent };
}
