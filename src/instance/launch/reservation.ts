import type { CapacityReservation } from '@aws-sdk/client-ec2';
import type { Aws } from '../../aws/clients';
import { awsCode, awsProblem } from '../../aws/reason';
import { sdk } from '../../aws/sdk';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import type { LaunchOption } from './launch-options';
import { instancesList } from '../../report/shell-words';

/** EC2 begins to terminate the instances of a capacity block so long before its end, ms (EC2 user guide, Capacity Blocks). */
const BLOCK_ENDS_EARLY_MS = 30 * 60_000;
/** Before that, a run is stopped and saved, ms. */
const SAVE_MS = 10 * 60_000;

/** What a launch into a capacity reservation depends on. */
export interface Reservation {
  id: string;
  /** A capacity block, which is paid for in advance, and whose instances EC2 terminates at its end. */
  isBlock: boolean;
  type: string;
  zone: string;
  /** How many instances it has room for, and how many in all. */
  free: number;
  total: number;
  /** When the instances of a block must have ended, ms since the epoch; null: they run on after the end of the reservation. */
  until: number | null;
  /** ms since the epoch; null: none. */
  end: number | null;
}

/**
 * The capacity reservation that a launch spec names; null where it names none.
 * @throws Problem where there is none, or the launch spec can't use it.
 */
export async function reservationOf(
  aws: Aws,
  { capacityReservation: id, types, maxCost }: LaunchSpec,
  abortSignal?: AbortSignal,
): Promise<Reservation | null> {
  if (id === undefined) return null;
  const { DescribeCapacityReservationsCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const command = new DescribeCapacityReservationsCommand({ CapacityReservationIds: [id] });
  const region = await aws.region();
  const { CapacityReservations: [found] = [] } = await ec2.send(command, { abortSignal }).catch((error: unknown) => {
    throw awsProblem(
      'CAPACITY_RESERVATION',
      `Could not look up the capacity reservation ${id} in ${region}.`,
      error,
      awsCode(error) === 'UnauthorizedOperation'
        ? 'The caller needs ec2:DescribeCapacityReservations: the LaunchPolicy of nx g nx-ec2:aws-setup has it.'
        : 'Check it, "region" and "profile". To list them: aws ec2 describe-capacity-reservations',
    );
  });
  if (!found) throw unusable(id, `does not exist in ${region}`);
  const reservation = toReservation(id, found);
  assertActive(id, found);
  if (!types.includes(reservation.type))
    throw unusable(id, `is for ${reservation.type}, and "instance.type" is ${types.join(', ')}`);
  if (found.Tenancy === 'dedicated') throw unusable(id, 'has the tenancy dedicated, which nx-ec2 does not launch');
  if (found.PlacementGroupArn)
    throw unusable(
      id,
      `is in the placement group ${sanitizeForTerminal(found.PlacementGroupArn)}, which nx-ec2 does not use`,
    );
  if (reservation.isBlock && maxCost !== undefined)
    throw new Problem('MAX_COST', `"maxCost" does not limit the capacity block ${id}, which is paid for in advance.`, {
      next: 'Leave out "maxCost", and set "maxLifetime" instead.',
      settings: ['instance.maxCost', 'instance.capacityReservation'],
    });
  return reservation;
}

function toReservation(id: string, found: CapacityReservation): Reservation {
  const isBlock = found.ReservationType === 'capacity-block';
  const end = found.EndDate?.getTime() ?? null;
  return {
    id,
    isBlock,
    type: found.InstanceType ?? '',
    zone: found.AvailabilityZone ?? '',
    free: found.AvailableInstanceCount ?? 0,
    total: found.TotalInstanceCount ?? 0,
    end,
    until: isBlock && end !== null ? end - BLOCK_ENDS_EARLY_MS - SAVE_MS : null,
  };
}

function assertActive(id: string, { State, StartDate }: CapacityReservation): void {
  if (State === 'active') return;
  const from = State === 'scheduled' && StartDate ? `, and starts at ${time(StartDate.getTime())}` : '';
  throw unusable(id, `is ${sanitizeForTerminal(State ?? 'in no known state')}${from}`);
}

/** The launch options in the reservation: of its type, in its zone. @throws Problem where there is none. */
export function reservedOptions(reservation: Reservation | null, options: LaunchOption[]): LaunchOption[] {
  if (!reservation) return options;
  const left = options.filter(({ type, zone }) => type === reservation.type && zone === reservation.zone);
  if (left.length) return left;
  const zones = [...new Set(options.map(({ zone }) => zone))].sort().join(', ');
  throw unusable(reservation.id, `is in ${reservation.zone}, and the subnets are in ${zones}`, ['instance.subnet']);
}

/**
 * Checks, before something is launched, that a reservation has room for it, and time.
 * @param count of instances that are to be launched. @param now ms since the epoch.
 */
export function assertRoom({ id, free, total, until, end }: Reservation, count: number, now: number): void {
  if (until !== null && until <= now)
    throw unusable(
      id,
      `is a capacity block that ends at ${time(end!)}: EC2 terminates its instances from ${time(end! - BLOCK_ENDS_EARLY_MS)} on, and nx-ec2 ends them at ${time(until)}`,
    );
  if (free < count)
    throw unusable(
      id,
      `has room for ${free} of ${count} instances (${total} in all)`,
      ['train.nodes'],
      `Wait until its other instances have ended: ${instancesList()}`,
    );
}

/** `cr-…, a capacity block of 4 x p5.48xlarge in us-east-1a, 4 free, until 2026-12-02T11:30:00Z`. */
export function describeReservation({ id, isBlock, type, zone, free, total, end }: Reservation): string {
  const kind = isBlock ? 'a capacity block' : 'a reservation';
  return `${id}, ${kind} of ${total} x ${type} in ${zone}, ${free} free${end === null ? '' : `, until ${time(end)}`}`;
}

function time(at: number): string {
  return new Date(at).toISOString().replace('.000', '');
}

function unusable(id: string, why: string, settings: string[] = [], next?: string): Problem {
  return new Problem('CAPACITY_RESERVATION', `The capacity reservation ${id} can't be used: it ${why}.`, {
    next: next ?? 'To list them: aws ec2 describe-capacity-reservations',
    settings: ['instance.capacityReservation', ...settings],
  });
}
