import { hash } from 'node:crypto';
import { Problem } from '../../report/problem';
import type { FileEntry } from '../../snapshot/entry';
import type { StoreKeys } from '../../store/keys';
import type { Store } from '../../store/store';
import { fetchContents } from './fetch-contents';
import type { StoredSnapshot } from '../manifest/read-snapshot';

/**
 * Reads files of a snapshot from the store into memory, verified: by their contents' names. Those that the store does
 * not have are left out.
 */
export async function readContents(
  store: Store,
  keys: StoreKeys,
  stored: StoredSnapshot,
  files: readonly FileEntry[],
  warn: (text: string) => void,
): Promise<Map<string, Buffer>> {
  const contents = new Map(files.map(({ sha256, size }) => [sha256, Buffer.alloc(size)]));
  const once = new Map(files.map((file) => [file.sha256, file]));
  await fetchContents(store, keys, stored, [...once.values()], {
    warn,
    onPiece: async (content, offset, data) => void data.copy(contents.get(content)!, offset),
  }).catch((error: unknown) => {
    if (
      !(error instanceof Problem) ||
      !/^(CONTENTS_GONE|PACK_MISMATCH|STORE_UNREADABLE|STORE_TOO_LARGE)$/.test(error.code)
    )
      throw error;
  });
  for (const [sha256, bytes] of contents) if (hash('sha256', bytes, 'hex') !== sha256) contents.delete(sha256);
  return contents;
}
