import { randomBytes } from 'node:crypto';
import type { Instances, LocalInstance } from '../../instance/instances';
import { AwsError } from '../../protocol/aws-error';
import { KeptJson } from '../../state/kept-json';

export interface CapacityReservation {
  /** `cr-…` */
  id: string;
  kind: 'default' | 'capacity-block';
  type: string;
  zone: string;
  count: number;
  platform: string;
  /** Whether instances that only match it run in it, or those that name it. */
  match: 'open' | 'targeted';
  /** ms since the epoch. */
  created: number;
  start: number;
  end?: number;
  cancelled?: boolean;
  tags: Record<string, string>;
  clientToken?: string;
  fingerprint: string;
}

/** Which reservations an instance can run in. */
export interface ReservationChoice {
  preference: 'open' | 'none' | 'capacity-reservations-only';
  /** The id of one. */
  target?: string;
}

/** What a launch asks reservations for. */
export interface ReservationRequest {
  type: string;
  zone: string;
  choice: ReservationChoice;
}

/** The capacity reservations and capacity blocks of the account. */
export class CapacityReservations {
  private readonly kept: KeptJson<CapacityReservation>;

  constructor(
    file: string,
    private readonly instances: Instances,
  ) {
    this.kept = new KeptJson(file);
  }

  all(): CapacityReservation[] {
    return this.kept.all();
  }

  save(reservation: CapacityReservation): void {
    this.kept.set(reservation.id, reservation);
  }

  add(traits: Omit<CapacityReservation, 'id' | 'created'>): CapacityReservation {
    const reservation = { ...traits, id: `cr-${randomBytes(9).toString('hex').slice(0, 17)}`, created: Date.now() };
    this.save(reservation);
    return reservation;
  }

  get(id: string | undefined): CapacityReservation | undefined {
    return id === undefined ? undefined : this.kept.get(id);
  }

  /** @throws AwsError InvalidCapacityReservationId.NotFound */
  find(id: string): CapacityReservation {
    const found = this.get(id);
    if (!found)
      throw new AwsError(
        'InvalidCapacityReservationId.NotFound',
        `The capacity reservation ID '${id}' does not exist.`,
      );
    return found;
  }

  state({ cancelled, start, end = Infinity }: CapacityReservation): 'active' | 'scheduled' | 'expired' | 'cancelled' {
    if (cancelled) return 'cancelled';
    if (Date.now() < start) return 'scheduled';
    return Date.now() < end ? 'active' : 'expired';
  }

  /** How many more instances can run in a reservation. */
  free(reservation: CapacityReservation): number {
    if (this.state(reservation) !== 'active') return 0;
    return Math.max(0, reservation.count - this.members(reservation).length);
  }

  /** Whether an instance uses capacity that is reserved, and no other. */
  isReserved({ capacityReservation }: LocalInstance): boolean {
    const found = this.get(capacityReservation);
    return found !== undefined && this.state(found) === 'active';
  }

  /** On-demand capacity that is reserved, whether it is used or not. Blocks have capacity of their own. */
  reserved(): CapacityReservation[] {
    return this.all().filter((each) => each.kind === 'default' && this.state(each) === 'active');
  }

  /** Those with free capacity in which an instance can run. */
  usable({ type, zone, choice }: ReservationRequest): CapacityReservation[] {
    const { preference, target } = choice;
    if (preference === 'none') return [];
    return this.all().filter(
      (each) =>
        each.type === type &&
        each.zone === zone &&
        (target === undefined ? each.match === 'open' && each.kind === 'default' : each.id === target) &&
        this.free(each) > 0,
    );
  }

  /** A stopped instance leaves its reservation. */
  private members({ id }: CapacityReservation): LocalInstance[] {
    return this.instances.all().filter((each) => each.capacityReservation === id && each.state === 'running');
  }
}
