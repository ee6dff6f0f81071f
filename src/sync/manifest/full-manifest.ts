import { deflateSync } from 'node:zlib';
import { WHOLE_BYTES } from '../../snapshot/chunk';
import { ChunkList } from '../../snapshot/chunk-list';
import type { FileEntry } from '../../snapshot/entry';
import type { StoredSnapshot } from './read-snapshot';
import { readVerified } from '../../snapshot/read-verified';
import { encodeFull, type ContentLocations } from './manifest';
import type { SentSnapshot } from './types';
import type { SyncContext } from '../context';

/** The most bytes of contents in no pack that a manifest holds. */
const MAX_INLINE_BYTES = 1024 * 1024;

/**
 * Everything that a tree which lost its contents needs: where each is, or the small ones themselves.
 * @param known the manifest that this one replaces.
 */
export async function fullManifest(
  { index, workspaceRoot }: SyncContext,
  { snapshot, recipes, where, packByChunk }: SentSnapshot,
  known?: StoredSnapshot,
): Promise<{ bytes: Buffer; packs: ContentLocations['packs'] }> {
  const all: ContentLocations = { recipes: { ...where.recipes }, packs: [], inline: { ...where.inline } };
  const packs = new Map(where.packs);
  let data = Object.values(all.inline).reduce((sum, text) => sum + text.length, 0);
  const inPack = (chunk: string) => {
    const pack = packByChunk.get(chunk) ?? index.find(chunk);
    if (pack) packs.set(pack.sha256, pack.size);
    return pack !== undefined;
  };
  const small = new Map<string, FileEntry>();
  for (const entry of snapshot.entries) {
    if (entry.kind !== 'file') continue;
    if (entry.size <= WHOLE_BYTES) small.set(entry.sha256, entry);
    else {
      const { sha256 } = entry;
      const text = all.recipes[sha256] ?? known?.recipes[sha256];
      const recipe = recipes.get(sha256) ?? (text === undefined ? undefined : ChunkList.decode(text));
      if (recipe) all.recipes[sha256] = text ?? recipe.encode();
      for (const [chunk] of recipe ?? []) inPack(chunk);
    }
  }
  const absent = [...small.values()].filter(({ sha256 }) => !(sha256 in all.inline) && !inPack(sha256));
  // What this machine knows of packs ends after some days; the store's indexes know more.
  if (absent.length) await index.refresh().catch(() => undefined);
  for (const { sha256, path, size } of absent) {
    if (inPack(sha256)) continue;
    if (known?.inline[sha256]) all.inline[sha256] = known.inline[sha256];
    else if (data < MAX_INLINE_BYTES) data += inlineContent(all, { sha256, path, size }, workspaceRoot);
  }
  // What it named may hold what is not known here.
  for (const [sha256, size] of known?.packs ?? []) packs.set(sha256, size);
  all.packs = [...packs];
  return { bytes: encodeFull(snapshot, all), packs: all.packs };
}

/** Reads a content again that was sent in a command. If the file has changed, it is left out, and requested when it is needed. */
function inlineContent(
  all: ContentLocations,
  entry: Pick<FileEntry, 'sha256' | 'path' | 'size'>,
  workspaceRoot: string,
): number {
  try {
    const content = readVerified(workspaceRoot, entry.path, 0, [entry.sha256, entry.size]);
    all.inline[entry.sha256] = deflateSync(content, { level: 9 }).toString('base64');
    return all.inline[entry.sha256].length;
  } catch {
    return 0;
  }
}
