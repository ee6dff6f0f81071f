import { ChunkMap } from '../../snapshot/chunk-list';
import { WHOLE_BYTES } from '../../snapshot/chunk';
import { readVerified } from '../../snapshot/read-verified';
import { PacksByChunk } from '../../store/packs/packs-by-chunk';
import type { SyncContext } from '../context';
import { ChunkUpload } from './chunk-upload';
import type { PieceList } from './pieces';

/** What an upload makes of the chunks that the store lacks. */
export interface Upload {
  /** Where each chunk will be. */
  packs: PacksByChunk;
  /** Settles when all of them are in the store. */
  sent: Promise<void>;
  /** As Transfer's. */
  nearlySent: (accepted: boolean) => Promise<void>;
  uploading: ReadonlySet<string>;
  /** Bytes that S3 has taken so far. */
  bytes: () => number;
}

const nothingToSend = (): Upload => ({
  packs: new PacksByChunk(),
  sent: Promise.resolve(),
  nearlySent: () => Promise.resolve(),
  uploading: new Set(),
  bytes: () => 0,
});

/** Uploads what the store lacks, each chunk once, as packs. Ends when all packs are made; the last are on their way then. */
export async function uploadChunks(
  context: SyncContext,
  pieces: PieceList,
  {
    begun,
    take,
    onNearEnd,
  }: {
    /** An upload that has begun. */
    begun?: ChunkUpload;
    /** Takes a content that is in memory. */
    take?: (chunk: string) => Buffer | undefined;
    /** As TransferRequest's. */
    onNearEnd?: () => void;
  } = {},
): Promise<Upload> {
  if (!pieces.length) return nothingToSend();
  const upload = begun ?? new ChunkUpload(context);
  upload.show(uniqueBytes(pieces), onNearEnd);
  const block = Buffer.allocUnsafe(WHOLE_BYTES);
  try {
    for (const { path, offset, chunk } of pieces) {
      if (upload.has(chunk[0])) continue;
      await upload.add(chunk, take?.(chunk[0]) ?? readVerified(context.workspaceRoot, path, offset, chunk, block));
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

function uniqueBytes(pieces: PieceList): number {
  const seen = new ChunkMap();
  for (const { chunk } of pieces) seen.set(...chunk);
  let sum = 0;
  for (const [, size] of seen) sum += size;
  return sum;
}
