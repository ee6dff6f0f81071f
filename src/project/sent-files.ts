import { Problem } from '../report/problem';
import type { Entry } from '../snapshot/entry';
import type { StoreKeys } from '../store/keys';
import type { Store } from '../store/store';
import { readSnapshot } from '../sync/manifest/read-snapshot';
import type { FoldNames } from '../workspace/name-folding';

export interface Content {
  size: number;
  sha256: string;
}

/** Why a snapshot can't be read that the client has signed: it is not there, or not what its id says. */
const UNKNOWN = /^(SNAPSHOT_GONE|SNAPSHOT_INVALID)$/;

/**
 * The contents that files were sent with, from the run's snapshot, which the client has signed. What the instance says of
 * them is not asked for: it could have an edited file replaced that way. Read when it is asked for first.
 */
export class SentFiles {
  private read: Promise<readonly Entry[] | null> | undefined;
  private contents: Promise<Map<string, Content> | null> | undefined;

  constructor(
    private readonly store: Store,
    private readonly keys: StoreKeys,
    private readonly snapshot: string,
  ) {}

  /**
   * @param path workspace-relative, whatever of the names that are one on this file system.
   * @returns null: it was not sent; undefined: the store does not know the snapshot any more.
   */
  async contentOf(path: string, fold: FoldNames): Promise<Content | null | undefined> {
    const contents = await (this.contents ??= this.readContents(fold));
    return contents ? (contents.get(fold(path)) ?? null) : undefined;
  }

  /** All that was sent; null: the store does not know the snapshot any more. */
  entries(): Promise<readonly Entry[] | null> {
    return (this.read ??= this.readEntries());
  }

  private async readContents(fold: FoldNames): Promise<Map<string, Content> | null> {
    const entries = await this.entries();
    if (!entries) return null;
    return new Map(
      entries.flatMap((entry) =>
        entry.kind === 'file' ? [[fold(entry.path), { size: entry.size, sha256: entry.sha256 }]] : [],
      ),
    );
  }

  private async readEntries(): Promise<readonly Entry[] | null> {
    try {
      return (await readSnapshot(this.store, this.keys, this.snapshot)).snapshot.entries;
    } catch (error) {
      if (error instanceof Problem && UNKNOWN.test(error.code)) return null;
      throw error;
    }
  }
}
