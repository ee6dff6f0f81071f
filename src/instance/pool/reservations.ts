import { z } from 'zod';
import { count, runId } from '../../schema/values';
import { UnusableObject } from '../../store/objects/unusable';
import type { Store } from '../../store/store';
import { steadyNow } from '../../system/moment';
import { sleep } from '../../system/sleep';
import type { Claim } from './place';

/** A reservation counts for so long after it was renewed last, ms: a client that was killed does not keep its place. */
export const RESERVATION = { lifetime: 60_000, renewal: 15_000 };
/** How long a run waits for those before it that are on their way to the same member, and between two looks, ms. */
export const EARLIER = { timeout: 30_000, poll: 500 };
const MAX_BYTES = 512 * 1024;
const MAX_RESERVATIONS = 1_000;
/** Writes against others who write at the same moment. */
const MAX_WRITES = 100;
const RETRY_MS = 100;

const reservation = z.object({
  run: runId,
  slot: count.max(1_000),
  key: z.string().max(64),
  exclusive: z.boolean(),
  gpus: count.max(1_000),
  priority: z.number().int(),
  at: count,
});
const document = z.object({ v: z.literal(1), reservations: z.array(reservation).max(MAX_RESERVATIONS) });

/** A place of a pool. */
export interface Slot {
  slot: number;
  /** The tag of the member that is there, or will be: it has another launch spec if it is not the key of this slot. */
  key: string;
}

/** A run that a command is about to start on the member of a slot. */
export interface Reservation extends Claim, Slot {
  /** When it was renewed last, by S3's clock, ms since the epoch. */
  at: number;
}

export interface ReadReservations {
  all: Reservation[];
  /** null: there is no such object. */
  etag: string | null;
}

/**
 * The reservations of a pool in the store: docs/reference/formats.md, "Pool". They only say which runs are on their way to
 * which member, so that commands which run at once choose different ones. What members there are, EC2 says.
 */
export class PoolReservations {
  constructor(
    private readonly store: Store,
    private readonly key: string,
    private readonly now: () => Promise<number>,
  ) {}

  /** Those that count. An object that can't be read holds none, and is written over. */
  async read(signal?: AbortSignal): Promise<ReadReservations> {
    const stored = await this.store.getWithETag(this.key, MAX_BYTES, { signal }).catch((error: unknown) => {
      if (error instanceof UnusableObject && error.etag !== null) return { bytes: Buffer.alloc(0), etag: error.etag };
      throw error;
    });
    if (!stored) return { all: [], etag: null };
    const now = await this.now();
    const all = parse(stored.bytes).filter(({ at }) => Math.abs(now - at) < RESERVATION.lifetime);
    return { all, etag: stored.etag };
  }

  /** @returns false if another client has written in between. */
  async write(all: Reservation[], etag: string | null): Promise<boolean> {
    const body = JSON.stringify({ v: 1, reservations: all.slice(-MAX_RESERVATIONS) });
    return (await this.store.compareAndSwap(this.key, Buffer.from(body), etag)) !== null;
  }

  /** Adds the reservation of a run to what was read. @returns null if another client has written in between. */
  async add(claim: Claim, { slot, key }: Slot, { all, etag }: ReadReservations): Promise<HeldReservation | null> {
    const { run, exclusive, gpus, priority } = claim;
    const own: Reservation = { run, slot, key, exclusive, gpus, priority, at: await this.now() };
    const others = all.filter((each) => each.run !== run);
    return (await this.write([...others, own], etag)) ? new HeldReservation(this, own, this.now) : null;
  }

  /** Changes the reservations, whatever others write meanwhile. */
  async update(change: (all: Reservation[]) => Reservation[]): Promise<void> {
    for (let writes = 0; writes < MAX_WRITES; writes++) {
      const { all, etag } = await this.read();
      if (await this.write(change(all), etag)) return;
      await sleep(RETRY_MS * (1 + Math.random()));
    }
  }
}

/** A reservation that is renewed until it is released. */
export class HeldReservation {
  private readonly timer: NodeJS.Timeout;
  private renewing: Promise<void> = Promise.resolve();

  constructor(
    private readonly reservations: PoolReservations,
    private readonly own: Reservation,
    private readonly now: () => Promise<number>,
  ) {
    this.timer = setInterval(() => {
      // What can't be renewed ends by itself.
      this.renewing = this.renew().catch(() => undefined);
    }, RESERVATION.renewal).unref();
  }

  /**
   * Waits while runs that come before it are on their way to the same member, so that they are before it in the queue
   * there. Not for long: their commands may have trouble.
   */
  async waitForEarlier(signal: AbortSignal): Promise<void> {
    const { slot, key } = this.own;
    const isEarlier = (each: Reservation) => each.slot === slot && each.key === key && precedes(each, this.own);
    for (const until = steadyNow() + EARLIER.timeout; steadyNow() < until; await sleep(EARLIER.poll, signal)) {
      const { all } = await this.reservations.read(signal);
      if (!all.some(isEarlier)) return;
    }
  }

  private async renew(): Promise<void> {
    const at = await this.now();
    await this.reservations.update((all) => [...this.without(all), { ...this.own, at }]);
  }

  /** Never rejects: one that stays ends by itself. */
  async release(): Promise<void> {
    clearInterval(this.timer);
    await this.renewing;
    await this.reservations.update((all) => this.without(all)).catch(() => undefined);
  }

  private without(all: Reservation[]): Reservation[] {
    return all.filter(({ run }) => run !== this.own.run);
  }
}

/** Whether a run comes before another in a queue: the time of its start is in its id. */
export function precedes(one: Claim, other: Claim): boolean {
  return one.priority > other.priority || (one.priority === other.priority && one.run < other.run);
}

function parse(bytes: Buffer): Reservation[] {
  try {
    return document.parse(JSON.parse(bytes.toString())).reservations;
  } catch {
    return [];
  }
}
