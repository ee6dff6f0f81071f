import { cacheHeads, publishHead } from '../sync/manifest/publish-head';
import { difference } from '../snapshot/diff';
import { loadCachedHead, type Head } from '../sync/manifest/head';
import { prepareManifest } from '../sync/manifest/prepare-manifest';
import type { Recipes } from '../snapshot/recipes';
import type { Snapshot } from '../snapshot/snapshot';
import type { ContentLocations } from '../sync/manifest/manifest';
import type { Transfer } from '../sync/transport/transport';
import type { SyncContext } from '../sync/context';
import { PacksByChunk } from '../store/packs/packs-by-chunk';

/** Contents that were sent inside edits are put into the manifest up to this size; the rest is requested when needed. */
const MAX_INLINE_BYTES = 1024 * 1024;

/**
 * What a tree has acknowledged since its head was last recorded in the store and here: written down when there is
 * time, many edits at once.
 */
export class PendingManifest {
  private where: ContentLocations = { recipes: {}, packs: [], inline: {} };
  private packByChunk = new PacksByChunk();
  private latest?: { snapshot: Snapshot; recipes: Recipes };

  /** @param recorded what was acknowledged last: it is recorded when `settled`. */
  constructor(
    private readonly context: SyncContext,
    private recorded: Snapshot,
    private settled: Promise<void>,
  ) {}

  get isEmpty(): boolean {
    return this.latest === undefined;
  }

  add(snapshot: Snapshot, recipes: Recipes, { where, packByChunk }: Pick<Transfer, 'where' | 'packByChunk'>): void {
    this.latest = { snapshot, recipes };
    Object.assign(this.where.recipes, where.recipes);
    Object.assign(this.where.inline, where.inline);
    this.where.packs.push(...where.packs);
    this.packByChunk.addAll(packByChunk);
  }

  /** Writes down what there is until now, after what is being written. Never rejects: what fails costs the next sync some bytes. */
  record(): Promise<void> {
    const { latest, where, packByChunk } = this;
    if (!latest) return this.settled;
    this.latest = undefined;
    this.where = { recipes: {}, packs: [], inline: {} };
    this.packByChunk = new PacksByChunk();
    this.settled = this.settled.then(async () => {
      const { instances } = this.context;
      const base = this.recordedHead();
      const before = base && this.recorded;
      const { snapshot } = latest;
      const delta = before && difference(before, snapshot);
      this.recorded = snapshot;
      try {
        const of = { ...latest, base, before, delta, where: only(where, snapshot), packByChunk };
        const state = { snapshot, base, manifest: await prepareManifest(this.context, of) };
        await publishHead(this.context, instances, state);
        cacheHeads(this.context, instances, state);
      } catch (error) {
        this.context.printer.detail(`The tree's head is not recorded: ${(error as Error).message}`);
      }
    });
    return this.settled;
  }

  /** Null where recording failed, or somebody else has synced from here since. */
  private recordedHead(): Head | null {
    const head = loadCachedHead(this.context, this.context.instances[0]);
    return head?.snapshot === this.recorded.id ? head : null;
  }
}

/** What of it the snapshot still has. */
function only(where: ContentLocations, snapshot: Snapshot): ContentLocations {
  const contents = new Set(snapshot.entries.flatMap((entry) => (entry.kind === 'file' ? [entry.sha256] : [])));
  let left = MAX_INLINE_BYTES;
  const kept = ([content, data]: [string, string]) => contents.has(content) && (left -= data.length) >= 0;
  return {
    recipes: Object.fromEntries(Object.entries(where.recipes).filter(([content]) => contents.has(content))),
    packs: [...new Map(where.packs)],
    inline: Object.fromEntries(Object.entries(where.inline).filter(kept)),
  };
}
