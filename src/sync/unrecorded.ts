import { acknowledge, announce } from './acknowledge';
import { difference } from '../snapshot/diff';
import { recallHead, type Head } from './head';
import { prepareRecord } from './prepare-record';
import type { PackName } from '../store/pack-index';
import type { Recipes } from '../snapshot/recipes';
import type { Snapshot } from '../snapshot/snapshot';
import type { Whereabouts } from './record';
import type { Delivery, SyncContext } from './strategy';

/** So many bytes of contents that rode in edits are kept for the record; what it lacks is asked for when it is needed. */
const MOST_DATA = 1024 * 1024;

/**
 * What a tree has acknowledged since its head was last recorded in the store and here: written down when there is
 * time, many edits at once.
 */
export class Unrecorded {
  private where: Whereabouts = { recipes: {}, packs: [], data: {} };
  private located = new Map<string, PackName>();
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

  add(snapshot: Snapshot, recipes: Recipes, { where, located }: Pick<Delivery, 'where' | 'located'>): void {
    this.latest = { snapshot, recipes };
    Object.assign(this.where.recipes, where.recipes);
    Object.assign(this.where.data, where.data);
    this.where.packs.push(...where.packs);
    for (const [chunk, pack] of located) this.located.set(chunk, pack);
  }

  /** Writes down what there is until now, after what is being written. Never rejects: what fails costs the next sync some bytes. */
  record(): Promise<void> {
    const { latest, where, located } = this;
    if (!latest) return this.settled;
    this.latest = undefined;
    this.where = { recipes: {}, packs: [], data: {} };
    this.located = new Map();
    this.settled = this.settled.then(async () => {
      const { instances } = this.context;
      const base = this.recordedHead();
      const before = base && this.recorded;
      const { snapshot } = latest;
      const delta = before && difference(before, snapshot);
      this.recorded = snapshot;
      try {
        const of = { ...latest, base, before, delta, where: only(where, snapshot), located };
        const state = { snapshot, base, record: await prepareRecord(this.context, of) };
        await announce(this.context, instances, state);
        acknowledge(this.context, instances, state);
      } catch (error) {
        this.context.reporter.detail(`The tree's head is not recorded: ${(error as Error).message}`);
      }
    });
    return this.settled;
  }

  /** Null where recording failed, or somebody else has synced from here since. */
  private recordedHead(): Head | null {
    const head = recallHead(this.context, this.context.instances[0]);
    return head?.snapshot === this.recorded.id ? head : null;
  }
}

/** What of it the snapshot still has. */
function only(where: Whereabouts, snapshot: Snapshot): Whereabouts {
  const contents = new Set(snapshot.entries.flatMap((entry) => (entry.kind === 'file' ? [entry.sha256] : [])));
  let room = MOST_DATA;
  const kept = ([content, data]: [string, string]) => contents.has(content) && (room -= data.length) >= 0;
  return {
    recipes: Object.fromEntries(Object.entries(where.recipes).filter(([content]) => contents.has(content))),
    packs: [...new Map(where.packs)],
    data: Object.fromEntries(Object.entries(where.data).filter(kept)),
  };
}
