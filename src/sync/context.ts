import type { Store } from '../store/store';
import type { StoreKeys } from '../store/keys';
import type { Remote } from '../command/remote';
import type { Printer } from '../report/printer';
import type { PackIndex } from '../store/packs/pack-index';

/** What a sync works with. */
export interface SyncContext {
  workspaceRoot: string;
  store: Store;
  keys: StoreKeys;
  remote: Remote;
  printer: Printer;
  /** Ids; the tree has the same name on each. */
  instances: readonly string[];
  tree: string;
  /** Where this machine remembers heads; undefined: it does not. */
  stateDirectory?: string;
  index: PackIndex;
  transferOptions: TransferOptions;
  signal?: AbortSignal;
}

/** How contents may travel. */
export interface TransferOptions {
  /** Small contents may ride in the command, whose history AWS keeps. */
  inline: boolean;
  /** What may ride along, bytes, compressed; absent: as much as a command holds. */
  inlineLimit?: number;
  /** What may be secret never does. */
  isSecret: (path: string) => boolean;
  /** Of zlib; auto: as the link is fast. */
  compression: number | 'auto';
}
