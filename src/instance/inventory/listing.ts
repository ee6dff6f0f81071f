import { callerIdentity } from '../../workspace/identity';
import type { Inventory, Kind, InventoryResource, InventoryInstance } from './inventory';
import { formatDuration } from '../../report/units';
import type { Price } from '../price/price';
import { endOf, readTags } from '../describe/tags';

/** Something that nx-ec2 has made, as its tags and EC2 tell of it. Texts are as they came. */
export interface Listed {
  kind: Kind;
  id: string;
  state: string;
  type: string | null;
  market: 'spot' | 'on-demand' | null;
  zone: string | null;
  /** Whether the caller had it made. */
  mine: boolean;
  owner: string | null;
  project: string | null;
  workspace: string | null;
  run: string | null;
  /** ms since its launch (or last start), or since it was made. */
  age: number;
  price: Price | null;
  /** USD, since its launch or last start, but for its disk; null: not known, or nothing by the hour. */
  cost: number | null;
  /** At the latest, ms since the epoch. */
  ends: { at: number; by: 'lifetime' | 'deadline' } | null;
  /** ms of idleness after which it ends before that. */
  idle: number | null;
}

export interface ListOptions {
  /** ARN. */
  caller: string;
  mine?: boolean;
  project?: string;
  /** ms since the epoch, by AWS's clock. */
  now: number;
}

/** All of it, the caller's own first, instances before the rest, the oldest first. */
export function listInventory(inventory: Inventory, { caller, mine, project, now }: ListOptions): Listed[] {
  const list = (kind: Kind, made: InventoryResource, instance?: InventoryInstance): Listed => {
    const tags = readTags(made.tags);
    const bills = instance?.state === 'running' || instance?.state === 'stopping' || instance?.state === 'pending';
    const age = Math.max(0, now - made.since);
    const timed = kind === 'fleet' || bills;
    return {
      kind,
      id: made.id,
      state: made.state,
      age,
      type: instance?.type ?? null,
      market: instance?.market ?? null,
      zone: instance?.zone ?? null,
      mine: isLaunchedBy(made, caller),
      owner: tags.owner,
      project: tags.project,
      workspace: tags.workspace,
      run: tags.run,
      price: instance ? tags.price : null,
      cost: bills && tags.price ? (age / 3_600_000) * tags.price.perHour : null,
      ends: timed ? endOf(made.since, kind === 'fleet' ? { ...tags, lifetime: null } : tags) : null,
      idle: bills ? tags.idle : null,
    };
  };
  return [
    ...inventory.instances.map((each) => list('instance', each, each)),
    ...inventory.fleets.map((each) => list('fleet', each)),
    ...inventory.spotRequests.map((each) => list('spot request', each)),
    ...inventory.templates.map((each) => list('launch template', each)),
    ...inventory.volumes.map((each) => list('volume', each)),
    ...inventory.placementGroups.map((each) => list('placement group', each)),
  ]
    .filter((each) => (!mine || each.mine) && (project === undefined || each.project === project))
    .map((each, index) => ({ each, index }))
    .sort((a, b) => Number(b.each.mine) - Number(a.each.mine) || a.index - b.index)
    .map(({ each }) => each);
}

export function isLaunchedBy({ tags }: InventoryResource, caller: string): boolean {
  const { owner } = readTags(tags);
  return owner !== null && callerIdentity(owner) === callerIdentity(caller);
}

/** USD an hour of all that runs, and how many of those have no price that is known. */
export function hourly(listed: Listed[]): { perHour: number; unknown: number } {
  const running = listed.filter(
    ({ state, kind }) => kind === 'instance' && (state === 'running' || state === 'pending'),
  );
  return {
    perHour: running.reduce((total, { price }) => total + (price?.perHour ?? 0), 0),
    unknown: running.filter(({ price }) => price === null).length,
  };
}

/** When it is terminated at the latest, and after which idle time before that. */
export function describeEnd({ kind, state, ends, idle }: Listed, now: number): string {
  if (kind !== 'instance' && kind !== 'fleet') return '';
  if (state === 'stopped' || state === 'shutting-down') return '';
  const idleness = idle === null ? '' : `${ends ? ', or' : ''} ${formatDuration(idle)} idle`;
  if (!ends) return idleness.trim() || 'never';
  const left = ends.at - now;
  return `${left < 0 ? `${formatDuration(-left)} ago` : `in ${formatDuration(left)}`} (${ends.by})${idleness}`;
}
