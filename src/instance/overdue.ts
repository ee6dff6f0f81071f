import { FLEET_ID } from './made';
import { formatDuration } from '../report/units';
import type { Inventory, Kind, Made, MadeFleet, MadeInstance } from './inventory';
import { endOf, readTags, type ReadTags } from './tags';

/** What the store knows of a run. `quiet`: it has not ended, and nothing was heard of it lately. */
export type Fate =
  { is: 'goes on' | 'quiet' | 'missing' | 'unreadable' } | { is: 'ended'; at: number; succeeded: boolean };

/** What is known of runs: of one that a tag names (null: of another store, or of none), and of those on an instance. */
export interface Fates {
  tagged(tags: ReadTags): Fate | null;
  on(instance: string): Fate[];
  /** Whether the instance itself says that nothing runs on it. What the store says can keep it, and not end it. */
  isIdle(instance: string): boolean;
}

/** Something that should not be there any more. */
export interface Overdue {
  kind: Kind;
  id: string;
  made: Made;
  why: string;
  /** Of an instance: whether its disk is to stay. */
  how: 'end' | 'stop';
}

/** A guard that is late, or a clock that is off, is given so long, ms. */
const MARGIN = 10 * 60_000;
/** So long, ms, a run may take from the launch until the store is told of it. */
const UNHEARD = 30 * 60_000;

/**
 * What of an inventory should have ended: by its own tags, or since its run has ended and the instance itself says that
 * nothing runs there. Nothing whose run goes on, or can't be told, and nothing that was stopped: who stops an instance
 * keeps its disk.
 * @param now ms since the epoch, by AWS's clock.
 */
export function overdue(inventory: Inventory, fates: Fates, now: number): Overdue[] {
  const late: Overdue[] = [];
  const add = (kind: Kind, made: Made, why: string | null) => {
    if (why !== null) late.push({ kind, id: made.id, made, why, how: stops(kind, made) ? 'stop' : 'end' });
  };
  for (const each of inventory.fleets) {
    const own = inventory.instances.filter(({ fleet }) => fleet === each.id);
    const busy = own.some(({ id }) => fates.on(id).some(isBusy));
    const idle = own.length > 0 && own.every(({ id }) => fates.isIdle(id));
    add('fleet', each, busy ? null : whyFleet(each, idle, fates, now));
  }
  const kept = inventory.fleets.filter(({ id }) => !late.some((each) => each.id === id));
  for (const each of inventory.instances) {
    // A fleet that stays would launch another.
    const replaced = kept.some(({ id }) => id === each.fleet);
    add('instance', each, whyInstance(each, replaced, fates, now));
  }
  for (const each of inventory.templates) {
    const used = kept.some(({ templates }) => templates.includes(each.id) || templates.includes(each.name));
    if (!used && fates.tagged(readTags(each.tags))?.is !== 'goes on')
      add('launch template', each, old(each, now, 'no fleet uses it'));
  }
  for (const each of inventory.spotRequests)
    if (!kept.some(({ id }) => id === each.tags[FLEET_ID]))
      add('spot request', each, old(each, now, 'it still waits for an instance'));
  for (const each of inventory.volumes) add('volume', each, old(each, now, 'no instance has it'));
  return late;
}

function stops(kind: Kind, { tags }: Made): boolean {
  return kind === 'instance' && readTags(tags).finish?.shutdown === 'stop';
}

/** Whether it goes on, as far as can be told. */
function isBusy({ is }: Fate): boolean {
  return is === 'goes on' || is === 'unreadable';
}

function old({ since }: Made, now: number, why: string): string | null {
  return now - since > MARGIN ? `${why}, ${formatDuration(now - since)} after it was made` : null;
}

function whyInstance(instance: MadeInstance, replaced: boolean, fates: Fates, now: number): string | null {
  if (instance.state !== 'running' && instance.state !== 'pending') return null;
  const tags = readTags(instance.tags);
  const own = tags.run === null ? null : fates.tagged(tags);
  const here = [...fates.on(instance.id), ...(own ? [own] : [])];
  if (here.some(isBusy)) return null;
  const late = pastItsTime(instance, tags, now);
  if (late !== null || own === null || replaced || !fates.isIdle(instance.id)) return late;
  const age = now - instance.since;
  if (own.is === 'missing')
    return age > UNHEARD ? `${formatDuration(age)} after its launch there is no record of its run` : null;
  if (own.is !== 'ended') return null;
  // One that was launched to go on with a run finds the record of an attempt that has ended.
  if (instance.since > own.at && age <= UNHEARD) return null;
  return afterItsRun(here, tags, now);
}

function whyFleet(fleet: MadeFleet, idle: boolean, fates: Fates, now: number): string | null {
  const tags = readTags(fleet.tags);
  const own = tags.run === null ? null : fates.tagged(tags);
  if (own && isBusy(own)) return null;
  // A fleet that waits for capacity has no record of its run, however long that takes.
  const late = pastItsTime(fleet, { ...tags, lifetime: null }, now);
  return late ?? (own?.is === 'ended' && idle ? afterItsRun([own], tags, now) : null);
}

function pastItsTime({ since }: Made, tags: ReadTags, now: number): string | null {
  const end = endOf(since, tags);
  return end && now > end.at + MARGIN ? `${formatDuration(now - end.at)} past its ${end.by}` : null;
}

/** By what becomes of it after the last run that has ended there. */
function afterItsRun(fates: Fate[], { finish }: ReadTags, now: number): string | null {
  const ended = fates.flatMap((fate) => (fate.is === 'ended' ? [fate] : [])).sort((one, other) => other.at - one.at);
  const kept = finish && (ended[0].succeeded ? finish.success : finish.failure);
  if (kept === null || now <= ended[0].at + kept + MARGIN) return null;
  return `its run has ended ${formatDuration(now - ended[0].at)} ago`;
}
