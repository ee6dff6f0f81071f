import type { SyncPart } from '../command/plan';
import type { Remote } from '../command/remote';
import type { Reporter } from '../report/reporter';
import type { FileEntry, Snapshot } from '../snapshot/snapshot';
import type { StoreKeys } from '../store/keys';
import type { Store } from '../store/store';

/** What a sync works with. */
export interface SyncContext {
  workspaceRoot: string;
  store: Store;
  keys: StoreKeys;
  remote: Remote;
  reporter: Reporter;
  instance: string;
  tree: string;
  signal?: AbortSignal;
}

/** A snapshot's contents on their way: how the plan names them, and what is to be removed afterwards. */
export interface Delivery {
  archive: SyncPart['archive'];
  /** Bytes that went to the store. */
  uploaded: number;
  /** Keys that are of no use after the command. */
  leftovers: string[];
}

/**
 * A way for contents to travel. `lacking` are the entries whose content the instance is not known to have, each
 * content once. Prepared before the command is sent; the command names what was prepared by its hash.
 */
export interface SyncStrategy {
  deliver(context: SyncContext, wanted: Snapshot, lacking: FileEntry[]): Promise<Delivery>;
}
