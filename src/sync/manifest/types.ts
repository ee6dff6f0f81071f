import type { Snapshot } from '../../snapshot/snapshot';
import type { Recipes } from '../../snapshot/recipes';
import type { Head } from './head';
import type { Delta } from '../../snapshot/diff';
import type { ContentLocations } from './manifest';
import type { PacksByChunk } from '../../store/packs/packs-by-chunk';

/** A snapshot that is sent, with its base and the locations of its contents. */
export interface SentSnapshot {
  snapshot: Snapshot;
  recipes: Recipes;
  base: Head | null;
  /** The base's snapshot. */
  before: Snapshot | null;
  /** From there to the snapshot. */
  delta: Delta | null;
  where: ContentLocations;
  /** Where the chunks are that were sent with it. */
  packByChunk: PacksByChunk;
}
