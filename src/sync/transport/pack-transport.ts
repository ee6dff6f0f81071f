import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import type { RecipeStep } from '../../command/plan';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { WHOLE_BYTES } from '../../snapshot/chunk';
import { ChunkListWriter, ChunkMap, type ChunkList } from '../../snapshot/chunk-list';
import type { FileEntry } from '../../snapshot/entry';
import { readContent } from '../../snapshot/read-content';
import type { Recipes } from '../../snapshot/recipes';
import type { Snapshot } from '../../snapshot/snapshot';
import { readVerified } from '../../snapshot/read-verified';
import { PieceList } from './pieces';
import { uploadChunks } from './upload-chunks';
import { nothing, type Transfer, type Transport } from './transport';
import { FileMoved } from '../../snapshot/file-moved';
import type { SyncContext } from '../context';
import type { PackName } from '../../store/packs/index-format';
import type { PacksByChunk } from '../../store/packs/packs-by-chunk';

/** Contents of so many bytes, compressed, ride in the command at the most: it holds 64 KB in all. */
const MAX_INLINE_BYTES = 24 * 1024;
/** So many times that, uncompressed, is worth the try. */
const MAX_COMPRESSION_RATIO = 8;
/** So much must be unknown, bytes, before the store is asked what others have uploaded. */
const MIN_ASKED_BYTES = 64 * 1024;

/**
 * The way of the store: contents as chunks in packs that are never sent twice; a large file as what it shares with
 * what the instance has, and the chunks that are new; a small edit in the command itself.
 */
export const packTransport: Transport = {
  async deliver(context, request): Promise<Transfer> {
    const transfer = nothing();
    const { early } = request;
    const data = request.missing.length ? inlineData(context, request.missing) : {};
    if (data) {
      await early?.cancel();
      transfer.part.inline = transfer.where.inline = data;
      return transfer;
    }
    const pieces = new PieceList();
    let known = 0;
    let baseFiles: Map<string, FileEntry> | undefined;
    const inBase = (path: string) => (baseFiles ??= filesByPath(request.base)).get(path);
    for (const entry of request.missing) {
      const { path, sha256: content, size } = entry;
      if (size <= WHOLE_BYTES) {
        pieces.push({ path, offset: 0, chunk: [content, size] });
        continue;
      }
      const chunks = chunksOf(context, entry, request.recipes);
      const copied = describe(transfer, entry, chunks, inBase(path), request.recipes);
      let offset = 0;
      for (const chunk of chunks) {
        if (copied.has(chunk[0])) known += chunk[1];
        else pieces.push({ path, offset, chunk });
        offset += chunk[1];
      }
    }
    const begun = await early?.end();
    // What was sent early counts as sent.
    const unknown = () => pieces.filter((chunk) => begun?.packs.get(chunk) !== undefined || !context.index.find(chunk));
    let missing = unknown();
    if (missing.total > MIN_ASKED_BYTES) {
      // Not being able to list costs an upload, not the sync.
      await context.index.refresh().catch((error: Error) => context.printer.detail(error.message.split('\n')[0]));
      missing = unknown();
    }
    const take = (chunk: string) => early?.take(chunk);
    const uploaded = await uploadChunks(context, missing, { begun, take, onNearEnd: request.onNearEnd });
    transfer.packByChunk = uploaded.packs;
    transfer.sent = uploaded.sent;
    transfer.nearlySent = uploaded.nearlySent;
    transfer.uploading = uploaded.uploading;
    transfer.uploaded = uploaded.bytes;
    transfer.saved = known + pieces.total - missing.total;
    transfer.part.packs = packsOf(pieces, uploaded.packs, (chunk) => context.index.find(chunk)!);
    transfer.where.packs = transfer.part.packs.map(({ sha256, size }) => [sha256, size]);
    return transfer;
  },
};

/** The contents themselves, where they are few, small and not secret; null where they are not. */
function inlineData(
  { transferOptions, workspaceRoot }: SyncContext,
  missing: FileEntry[],
): Record<string, string> | null {
  const raw = missing.reduce((sum, { size }) => sum + size, 0);
  const inlineLimit = transferOptions.inlineLimit ?? MAX_INLINE_BYTES;
  if (
    !transferOptions.inline ||
    raw > MAX_COMPRESSION_RATIO * inlineLimit ||
    missing.some(({ path }) => transferOptions.isSecret(path))
  )
    return null;
  const data: Record<string, string> = {};
  let size = 0;
  for (const entry of missing) {
    const content = readVerified(workspaceRoot, entry.path, 0, [entry.sha256, entry.size]);
    data[entry.sha256] = deflateSync(content, { level: 9 }).toString('base64');
    if ((size += data[entry.sha256].length) > inlineLimit) return null;
  }
  return data;
}

function chunksOf({ workspaceRoot }: SyncContext, entry: FileEntry, recipes: Recipes): ChunkList {
  const known = recipes.get(entry.sha256);
  if (known) return known;
  // Its hash was remembered, its recipe was not.
  const content = readContent(join(workspaceRoot, entry.path));
  if (content?.sha256 !== entry.sha256 || !content.chunks) throw new FileMoved(sanitizeForTerminal(entry.path));
  recipes.set(entry.path, entry.sha256, content.chunks);
  return content.chunks;
}

/** Writes down how a large content is put together. @param before the file in the base. @returns the chunks that the base's content has. */
function describe(
  transfer: Transfer,
  entry: FileEntry,
  chunks: ChunkList,
  before: FileEntry | undefined,
  recipes: Recipes,
): ChunkMap {
  const offsets = new ChunkMap();
  let at = 0;
  for (const [sha256, size] of (before && recipes.get(before.sha256)) ?? []) {
    if (!offsets.has(sha256)) offsets.set(sha256, at);
    at += size;
  }
  transfer.where.recipes[entry.sha256] = chunks.encode();
  transfer.part.recipes[entry.sha256] = offsets.size
    ? steps(chunks, before!.sha256, offsets)
    : [transfer.where.recipes[entry.sha256]];
  return offsets;
}

/** How a content is put together of chunks and of pieces of another one. @param offsets where that has which chunk. */
function steps(chunks: ChunkList, before: string, offsets: ChunkMap): RecipeStep[] {
  const found: RecipeStep[] = [];
  let others = new ChunkListWriter();
  const close = () => {
    if (others.length) found.push(others.list().encode());
    others = new ChunkListWriter();
  };
  let piece: [string, number, number] | undefined;
  for (const [sha256, size] of chunks) {
    const from = offsets.get(sha256);
    if (from === undefined) {
      others.push(sha256, size);
      piece = undefined;
    } else if (piece && piece[1] + piece[2] === from) {
      piece[2] += size;
    } else {
      close();
      found.push((piece = [before, from, size]));
    }
  }
  close();
  return found;
}

function filesByPath(base: Snapshot | null): Map<string, FileEntry> {
  const files = (base?.entries ?? []).filter((entry) => entry.kind === 'file');
  return new Map(files.map((entry) => [entry.path, entry]));
}

/** The packs that hold the pieces. One of which little is needed is spare: read in part. */
function packsOf(pieces: PieceList, made: PacksByChunk, find: (chunk: string) => PackName): Transfer['part']['packs'] {
  const needed = new Map<string, { size: number; bytes: number }>();
  const uploaded = new Set(made.names().map(({ sha256 }) => sha256));
  for (const { chunk } of pieces) {
    const { sha256, size } = made.get(chunk[0]) ?? find(chunk[0]);
    const pack = needed.get(sha256) ?? { size, bytes: 0 };
    pack.bytes += chunk[1];
    needed.set(sha256, pack);
  }
  return [...needed].map(([sha256, { size, bytes }]) => ({
    sha256,
    size,
    // What is needed counts before compression: where in doubt, the instance reads the whole.
    spare: !uploaded.has(sha256) && bytes < size / 2,
  }));
}
