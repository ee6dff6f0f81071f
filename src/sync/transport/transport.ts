import type { SyncPart } from '../../command/plan';
import type { FileEntry } from '../../snapshot/entry';
import type { Recipes } from '../../snapshot/recipes';
import type { Snapshot } from '../../snapshot/snapshot';
import type { ContentLocations } from '../manifest/manifest';
import type { SyncContext } from '../context';
import { PacksByChunk } from '../../store/packs/packs-by-chunk';
import type { EarlyUpload } from './early-upload';

/** What is to be delivered. */
export interface TransferRequest {
  wanted: Snapshot;
  /** What the tree should hold; null where nothing is known of it. */
  base: Snapshot | null;
  /** The entries whose content the instance is not known to have, each content once. */
  missing: FileEntry[];
  recipes: Recipes;
  /** An upload that began before this was known. */
  early?: EarlyUpload;
  /** Called once the upload is likely to end within seconds, if there is one. Packs may still be made then. */
  onNearEnd?: () => void;
}

/** Contents on their way: how the plan names them, what a manifest keeps of that, and what is to be removed afterwards. */
export interface Transfer {
  part: Pick<SyncPart, 'archive' | 'recipes' | 'inline'> & {
    packs: { sha256: string; size: number; spare: boolean }[];
  };
  where: ContentLocations;
  /** Where the chunks are that were sent. */
  packByChunk: PacksByChunk;
  /** Settles when all of it is where the instance finds it: what is named may still be on its way. */
  sent: Promise<void>;
  /**
   * Settles when all of it is made and what is still on its way is likely to arrive within seconds.
   * @param accepted the store is known to accept packs.
   */
  nearlySent: (accepted: boolean) => Promise<void>;
  /** The names of packs whose upload has not ended. */
  uploading: ReadonlySet<string>;
  /** Bytes that went to the store, once it is sent. */
  uploaded: () => number;
  /** Bytes of missing contents that the store or the instance had already. */
  saved: number;
  /** Keys that are of no use after the command. */
  leftovers: string[];
}

/**
 * A way for contents to transferOptions. Prepared before the command is sent; the command names what was prepared by its hash.
 * @throws FileMoved where a file is no longer what was scanned.
 */
export interface Transport {
  /** The fallback for a bucket that lacks what this transport needs (HTTP 501). */
  fallback?: Transport;
  deliver(context: SyncContext, request: TransferRequest): Promise<Transfer>;
}

export function nothing(): Transfer {
  return {
    part: { archive: null, recipes: {}, inline: {}, packs: [] },
    where: { recipes: {}, packs: [], inline: {} },
    packByChunk: new PacksByChunk(),
    sent: Promise.resolve(),
    nearlySent: () => Promise.resolve(),
    uploading: new Set(),
    uploaded: () => 0,
    saved: 0,
    leftovers: [],
  };
}
