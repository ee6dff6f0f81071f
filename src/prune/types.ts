import type { Item } from './inventory';
import type { RunNeeds } from './run-lists';

/** How long, ms, and how much is kept. */
export interface Limits {
  /** What is younger is needed, whoever names it. */
  olderThan: number;
  /** A ref that was not written for so long keeps nothing. */
  refsOlderThan: number;
  /** The number of newest manifests that are kept of each project with a ref in use. */
  keepSnapshots: number;
  /** A run that nothing was written of for so long goes, with all that is its own. */
  runsOlderThan: number;
  /** So many runs, the newest, of each project stay. */
  keepRuns: number;
}

/** All leave out what is gone or damaged, and so names nothing. */
export interface Reader {
  refs(items: Item[]): Promise<RefNeeds[]>;
  /** @param take called with what each needs, one after the other: together they may name more than memory holds. */
  manifests(items: Item[], take: (needs: ManifestNeeds) => void): Promise<void>;
  /** Of runs' records, by their names. */
  runs(items: Item[]): Promise<Map<string, RunNeeds>>;
  /** The run that each of these keys names, by the key's name. */
  keys(items: Item[]): Promise<Map<string, string[]>>;
  /**
   * The parts that lists of artifacts and checkpoints name; null where one of them can't be read.
   * @param hashes SHA-256 of those of which it is known, by their names.
   */
  parts(items: Item[], hashes: ReadonlyMap<string, string>): Promise<Set<string> | null>;
}

/** What a ref names, below the store's base. */
export interface RefNeeds {
  manifests: string[];
  runtime: string;
}

/** What a manifest names, below the store's base. */
export interface ManifestNeeds {
  base: string | null;
  packs: Iterable<string>;
}
