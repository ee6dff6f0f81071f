import type { SyncPart } from '../command/plan';
import type { Remote } from '../command/remote';
import { Problem } from '../report/problem';
import type { Reporter } from '../report/reporter';
import type { FileEntry } from '../snapshot/entry';
import type { Recipes } from '../snapshot/recipes';
import type { Snapshot } from '../snapshot/snapshot';
import type { StoreKeys } from '../store/keys';
import type { PackIndex, PackName } from '../store/pack-index';
import type { Store } from '../store/store';
import type { Whereabouts } from './record';

/** What a sync works with. */
export interface SyncContext {
  workspaceRoot: string;
  store: Store;
  keys: StoreKeys;
  remote: Remote;
  reporter: Reporter;
  /** Ids; the tree has the same name on each. */
  instances: readonly string[];
  tree: string;
  /** Where this machine remembers heads; undefined: it does not. */
  memory?: string;
  index: PackIndex;
  travel: Travel;
  signal?: AbortSignal;
}

/** How contents may travel. */
export interface Travel {
  /** Small contents may ride in the command, whose history AWS keeps. */
  inline: boolean;
  /** What may ride along, bytes, compressed; absent: as much as a command holds. */
  room?: number;
  /** What may be secret never does. */
  isSecret: (path: string) => boolean;
  /** Of zlib; auto: as the link is fast. */
  compression: number | 'auto';
}

/** What is to be delivered. */
export interface Freight {
  wanted: Snapshot;
  /** What the tree should hold; null where nothing is known of it. */
  base: Snapshot | null;
  /** The entries whose content the instance is not known to have, each content once. */
  lacking: FileEntry[];
  recipes: Recipes;
}

/** Contents on their way: how the plan names them, what a record keeps of that, and what is to be removed afterwards. */
export interface Delivery {
  part: Pick<SyncPart, 'archive' | 'recipes' | 'data'> & {
    packs: { sha256: string; size: number; spare: boolean }[];
  };
  where: Whereabouts;
  /** Where the chunks are that were sent. */
  located: ReadonlyMap<string, PackName>;
  /** Settles when all of it is where the instance finds it: what is named may still be on its way. */
  sent: Promise<void>;
  /** Bytes that went to the store, once it is sent. */
  uploaded: () => number;
  /** Bytes of lacking contents that the store or the instance had already. */
  saved: number;
  /** Keys that are of no use after the command. */
  leftovers: string[];
}

/**
 * A way for contents to travel. Prepared before the command is sent; the command names what was prepared by its hash.
 * @throws FileMoved where a file is no longer what was scanned.
 */
export interface SyncStrategy {
  /** What serves where a bucket does not know what this one needs (HTTP 501). */
  otherwise?: SyncStrategy;
  deliver(context: SyncContext, freight: Freight): Promise<Delivery>;
}

/** A file that goes or changes while it is sent: the caller scans again. */
export class FileMoved extends Problem {
  constructor(what: string, cause?: unknown) {
    super('FILE_CHANGED', `A file changed while it was being sent: ${what}`, {
      next: 'Run the command again when nothing writes there.',
      cause,
    });
  }
}

export function nothing(): Delivery {
  return {
    part: { archive: null, recipes: {}, data: {}, packs: [] },
    where: { recipes: {}, packs: [], data: {} },
    located: new Map(),
    sent: Promise.resolve(),
    uploaded: () => 0,
    saved: 0,
    leftovers: [],
  };
}
