import { FLEET_ID } from '../describe/ownership';
import { keptAfter } from '../describe/kept-after';
import { formatDuration } from '../../report/units';
import type { Inventory, Kind, InventoryResource, InventoryFleet, InventoryInstance } from './inventory';
import { endOf, readTags, type ReadTags } from '../describe/tags';

/**
 * What the store knows of a run. `quiet`: it has not ended, and nothing was heard of it lately. `unreadable`: its record
 * was written lately and can't be verified, so anybody may have written it; or the store has more runs than were looked at.
 */
export type RunState =
  | { is: 'active' | 'quiet' | 'missing' | 'unreadable' }
  | { is: 'ended'; at: number; succeeded: boolean; allSaved: boolean };

/** What is known of runs: of one that a tag names (null: of another store, or of none), and of those on an instance. */
export interface RunStates {
  tagged(tags: ReadTags): RunState | null;
  on(instance: string): RunState[];
  /** What the instance itself says: whether anything runs on it. null: it was not asked, or does not answer. */
  says(instance: string): 'idle' | 'busy' | null;
}

/** Something that should not be there any more. */
export interface ExpiredResource {
  kind: Kind;
  id: string;
  made: InventoryResource;
  why: string;
  /** Of an instance: whether its disk is to stay. */
  how: 'terminate' | 'stop';
}

/** Tolerance for a late watchdog or a wrong clock, ms. */
const MARGIN_MS = 10 * 60_000;
/** Time limit from the launch until the store has a record of the run, ms. */
const UNHEARD_MS = 30 * 60_000;

/**
 * Finds the expired resources of an inventory: past their lifetime or deadline by their own tags, or left after their
 * run, if the instance itself says that nothing runs there. A resource whose run is active or unknown is not expired,
 * nor is a stopped instance: its user keeps the disk on purpose.
 * @param now ms since the epoch, by AWS's clock.
 */
export function findExpired(inventory: Inventory, runs: RunStates, now: number): ExpiredResource[] {
  const late: ExpiredResource[] = [];
  const add = (kind: Kind, made: InventoryResource, why: string | null) => {
    if (why !== null) late.push({ kind, id: made.id, made, why, how: stops(kind, made) ? 'stop' : 'terminate' });
  };
  for (const each of inventory.fleets) {
    const own = inventory.instances.filter(({ fleet }) => fleet === each.id);
    const isLate = isPastItsTime({ kind: 'fleet', made: each }, now);
    const held = own.some(({ id }) => isHeld(runs.on(id), runs.says(id), isLate));
    const said = own.map(({ id }) => runs.says(id));
    const says = said.includes('busy') ? 'busy' : said.includes(null) ? null : 'idle';
    add('fleet', each, held ? null : whyFleet(each, { says, empty: !own.length }, runs, now));
  }
  const kept = inventory.fleets.filter(({ id }) => !late.some((each) => each.id === id));
  for (const each of inventory.instances) {
    // A fleet that stays would launch another.
    const replaced = kept.some(({ id }) => id === each.fleet);
    add('instance', each, whyInstance(each, replaced, runs, now));
  }
  for (const each of inventory.templates) {
    const used = kept.some(({ templates }) => templates.includes(each.id) || templates.includes(each.name));
    if (!used && runs.tagged(readTags(each.tags))?.is !== 'active')
      add('launch template', each, old(each, now, 'no fleet uses it'));
  }
  for (const each of inventory.spotRequests)
    if (!kept.some(({ id }) => id === each.tags[FLEET_ID]))
      add('spot request', each, old(each, now, 'it has no instance yet'));
  for (const each of inventory.volumes) add('volume', each, old(each, now, 'no instance uses it'));
  for (const each of inventory.placementGroups)
    if (!inventory.instances.some(({ placementGroup }) => placementGroup === each.id))
      add('placement group', each, old(each, now, 'no instance is in it'));
  return late;
}

function stops(kind: Kind, { tags }: InventoryResource): boolean {
  return kind === 'instance' && readTags(tags).finish?.shutdown === 'stop';
}

/**
 * Whether a run that may be active keeps an instance. Within its lifetime and deadline a record keeps it, and one that
 * can't be verified does unless the instance itself says that nothing runs there. Past them its tags have said that it is
 * to end: then the store decides nothing, since anybody may have written, put back or deleted a record, but the
 * instance's own word alone.
 * @param isLate whether the instance is past its lifetime or deadline, by its own tags.
 */
function isHeld(runs: RunState[], says: ReturnType<RunStates['says']>, isLate: boolean): boolean {
  if (isLate) return says === 'busy';
  return runs.some(({ is }) => is === 'active' || (is === 'unreadable' && says !== 'idle'));
}

/** Whether it is past its lifetime or deadline, by its own tags. @param now ms since the epoch, by AWS's clock. */
export function isPastItsTime({ kind, made }: Pick<ExpiredResource, 'kind' | 'made'>, now: number): boolean {
  const tags = readTags(made.tags);
  return pastItsTime(made, kind === 'fleet' ? { ...tags, lifetime: null } : tags, now) !== null;
}

function old({ since }: InventoryResource, now: number, why: string): string | null {
  return now - since > MARGIN_MS ? `${why}, ${formatDuration(now - since)} after it was created` : null;
}

function whyInstance(instance: InventoryInstance, replaced: boolean, runs: RunStates, now: number): string | null {
  if (instance.state !== 'running' && instance.state !== 'pending') return null;
  const tags = readTags(instance.tags);
  const own = tags.run === null ? null : runs.tagged(tags);
  const here = [...runs.on(instance.id), ...(own ? [own] : [])];
  const late = pastItsTime(instance, tags, now);
  const says = runs.says(instance.id);
  if (isHeld(here, says, late !== null)) return null;
  if (late !== null || own === null || replaced || says !== 'idle') return late;
  const age = now - instance.since;
  if (own.is === 'missing')
    return age > UNHEARD_MS ? `no record of its run in the store ${formatDuration(age)} after its launch` : null;
  if (own.is !== 'ended') return null;
  // An instance that was launched for a run's next attempt finds the record of the one before, which has ended.
  if (instance.since > own.at && age <= UNHEARD_MS) return null;
  return afterItsRun(here, tags, now);
}

function whyFleet(
  fleet: InventoryFleet,
  { says, empty }: { /** All its instances, if it has any. */ says: ReturnType<RunStates['says']>; empty: boolean },
  runs: RunStates,
  now: number,
): string | null {
  const tags = readTags(fleet.tags);
  const own = tags.run === null ? null : runs.tagged(tags);
  // A fleet that waits for capacity has no record of its run, however long that takes.
  const late = pastItsTime(fleet, { ...tags, lifetime: null }, now);
  if (isHeld(own ? [own] : [], says, late !== null)) return null;
  return late ?? (own?.is === 'ended' && says === 'idle' && !empty ? afterItsRun([own], tags, now) : null);
}

function pastItsTime({ since }: InventoryResource, tags: ReadTags, now: number): string | null {
  const end = endOf(since, tags);
  return end && now > end.at + MARGIN_MS ? `${formatDuration(now - end.at)} past its ${end.by}` : null;
}

/** By what becomes of it after the last run that has ended there, and after each of which it has files that are not saved. */
function afterItsRun(runs: RunState[], { finish }: ReadTags, now: number): string | null {
  const ended = runs.flatMap((run) => (run.is === 'ended' ? [run] : [])).sort((one, other) => other.at - one.at);
  const isKept = ended.some(({ at, succeeded, allSaved }, n) => {
    if (n > 0 && allSaved) return false;
    const kept = finish && keptAfter(finish, succeeded, allSaved);
    return kept === null || now <= at + kept + MARGIN_MS;
  });
  if (isKept) return null;
  return `its run ended ${formatDuration(now - ended[0].at)} ago`;
}
