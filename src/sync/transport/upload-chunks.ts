import type { Chunk } from '../../snapshot/chunk';
import { readVerified } from '../../snapshot/read-verified';
import type { PackName } from '../../store/packs/index-format';
import type { SyncContext } from '../context';
import { ChunkUpload } from './chunk-upload';

/** A chunk and where it is: a file of the workspace. */
export interface Piece {
  path: string;
  /** The content that it is a part of. */
  content: string;
  offset: number;
  chunk: Chunk;
}

/** What an upload makes of the chunks that the store lacks. */
export interface Upload {
  /** Where each chunk will be. */
  packs: ReadonlyMap<string, PackName>;
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

/**
 * Uploads what the store lacks, each chunk once, as packs. Ends when all packs are made; the last are on their way then.
 * @param upload one that has begun.
 * @param take a content that is in memory.
 */
export async function uploadChunks(
  context: SyncContext,
  pieces: Piece[],
  upload?: ChunkUpload,
  take?: (chunk: string) => Buffer | undefined,
): Promise<Upload> {
  if (!pieces.length) return nothingToSend();
  upload ??= new ChunkUpload(context);
  const unique = [...new Map(pieces.map((piece) => [piece.chunk[0], piece])).values()];
  upload.show(total(unique));
  try {
    for (const { path, offset, chunk } of unique) {
      if (upload.has(chunk[0])) continue;
      await upload.add(chunk, take?.(chunk[0]) ?? readVerified(context.workspaceRoot, path, offset, chunk));
    }
    const { sent } = await upload.finish();
    const { packs, uploads } = upload;
    return {
      packs,
      sent,
      nearlySent: (accepted) => uploads.waitUntilNearlySent(accepted),
      uploading: uploads.uploading,
      bytes: () => uploads.sent,
    };
  } catch (error) {
    await upload.settle();
    throw error;
  }
}

export function total(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, { chunk }) => sum + chunk[1], 0);
}
