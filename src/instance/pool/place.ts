/** What a run reserves of a member, whether it has its turn or waits. */
export interface Claim {
  run: string;
  exclusive: boolean;
  gpus: number;
  priority: number;
}

export interface Load extends Claim {
  /** Whether it has its turn on the member. */
  granted: boolean;
}

/** A place of a pool in which there is a member, or for which a run is about to launch one. */
export interface Member {
  slot: number;
  /**
   * `running`: it has said what runs there; `starting`: it can't yet; `silent`: it should, and does not; `leaving`: AWS is
   * about to take it away.
   */
  state: 'running' | 'starting' | 'silent' | 'leaving';
  /** null: not known. */
  gpus: number | null;
  /** All runs that are on it, or that a command is about to start there. */
  loads: readonly Load[];
}

export interface Placement {
  /** `room`: the member has what the run reserves; `launch`: the slot gets a member; `queue`: the run waits on the member. */
  how: 'room' | 'launch' | 'queue';
  slot: number;
  /** How many runs it waits for, as far as it is known. */
  before: number;
}

export interface PoolLimits {
  size: number;
  /** Members with another launch spec, which count and are not used. */
  others: number;
}

/**
 * Decides where a run of a pool goes: to a member that has room, else to a new one, else into the queue of the member
 * where the fewest runs are before it.
 * @param claim what the run reserves. @returns null: no member can take it, and none may be launched.
 */
export function place(members: readonly Member[], claim: Claim, { size, others }: PoolLimits): Placement | null {
  const roomy = members.filter((each) => isUsable(each) && hasRoom(each, claim));
  const [best] = [...roomy].sort((one, other) => byRoom(one, other, claim));
  if (best) return { how: 'room', slot: best.slot, before: 0 };
  if (members.length + others < size) return { how: 'launch', slot: freeSlot(members), before: 0 };
  const usable = members.filter((each) => canTake(each, claim));
  const queues = usable.map((each) => ({ each, before: runsBefore(each, claim) }));
  const [shortest] = queues.sort(
    (one, other) =>
      one.before - other.before || one.each.loads.length - other.each.loads.length || one.each.slot - other.each.slot,
  );
  return shortest ? { how: 'queue', slot: shortest.each.slot, before: shortest.before } : null;
}

/** Whether a run may be sent to a member. */
export function isUsable({ state }: Member): boolean {
  return state === 'running' || state === 'starting';
}

/** Whether a run can get its turn on a member, at once or later. */
export function canTake(member: Member, claim: Claim): boolean {
  return isUsable(member) && (member.gpus === null || member.gpus >= claim.gpus);
}

/** Whether a run gets its turn at once: it conflicts with none that is there, or that waits there. */
export function hasRoom({ gpus, loads }: Member, claim: Claim): boolean {
  if (loads.some((each) => each.exclusive || claim.exclusive)) return false;
  if (claim.gpus === 0) return true;
  return gpus === null ? loads.every((each) => each.gpus === 0) : reserved(loads) + claim.gpus <= gpus;
}

/** How many runs wait that could have what a placement gives to another one, and for which `isBefore` holds. */
export function passedOver(
  members: readonly Member[],
  { how, slot }: Placement,
  isBefore: (load: Load) => boolean,
): number {
  const target = members.find((each) => each.slot === slot);
  const waiting = members.flatMap(({ loads }) => loads).filter((each) => !each.granted && isBefore(each));
  return waiting.filter((each) => how === 'launch' || (target !== undefined && hasRoom(target, each))).length;
}

/** How many runs are before one that would wait: those that have their turn, and those of its priority or a higher one. */
export function runsBefore({ loads }: Member, { priority }: Claim): number {
  return loads.filter((each) => each.granted || each.priority >= priority).length;
}

/**
 * One that runs before one that starts. The fewest free GPUs that are enough, so that a later run that needs many finds
 * them together; a run that reserves none goes where the fewest are.
 */
function byRoom(one: Member, other: Member, claim: Claim): number {
  const free = ({ gpus, loads }: Member) => (gpus === null ? Infinity : gpus - reserved(loads));
  const tight = claim.gpus > 0 && free(one) !== free(other) ? free(one) - free(other) : 0;
  return (
    Number(one.state !== 'running') - Number(other.state !== 'running') ||
    tight ||
    one.loads.length - other.loads.length ||
    one.slot - other.slot
  );
}

function reserved(loads: readonly Load[]): number {
  return loads.reduce((sum, { gpus }) => sum + gpus, 0);
}

function freeSlot(members: readonly Member[]): number {
  const taken = new Set(members.map(({ slot }) => slot));
  let slot = 0;
  while (taken.has(slot)) slot++;
  return slot;
}
