import { instanceType, onDemandPrice } from '../../catalog/instance-types';
import type { Zone } from '../../catalog/network';
import { AwsError } from '../../protocol/aws-error';
import { ACCOUNT, type Identity } from '../../protocol/identity';
import { alsoAllow, type Action } from '../request/action';
import type { Form } from '../request/form';
import { page, select } from '../request/select';
import { tagSet, timestamp, type Xml } from '../request/xml';
import type { CapacityReservation, CapacityReservations } from './capacity-reservations';

const HOUR_MS = 3_600_000;
/** A block is for whole days up to two weeks, then for whole weeks up to half a year; a block has at most 64 instances. */
const [DAY_HOURS, MAX_DAYS_HOURS, WEEK_HOURS, MAX_HOURS] = [24, 14 * 24, 7 * 24, 182 * 24];
const MAX_BLOCK_INSTANCES = 64;

interface Offering {
  type: string;
  zone: string;
  count: number;
  start: number;
  end: number;
}

/** What is asked of capacity reservations and capacity blocks. */
export class ReservationActions {
  private readonly offerings = new Map<string, Offering>();
  readonly actions: Record<string, Action> = {
    CreateCapacityReservation: (form, caller) => this.create(form, caller),
    DescribeCapacityReservations: (form) => this.describe(form),
    CancelCapacityReservation: (form) => this.cancel(form),
    DescribeCapacityBlockOfferings: (form) => this.describeOfferings(form),
    PurchaseCapacityBlock: (form, caller) => this.purchase(form, caller),
  };

  /** @param fits how many instances of a type there is on-demand capacity for in a zone. */
  constructor(
    private readonly reservations: CapacityReservations,
    private readonly zones: Zone[],
    private readonly region: string,
    private readonly fits: (type: string, zone: string, count: number) => number,
  ) {}

  private create(form: Form, caller: Identity | null): { [name: string]: Xml } {
    const [clientToken, fingerprint] = [form.text('ClientToken'), form.fingerprint()];
    const before = clientToken && this.reservations.all().find((each) => each.clientToken === clientToken);
    if (before && before.fingerprint !== fingerprint)
      throw new AwsError(
        'IdempotentParameterMismatch',
        'Arguments on this idempotent request are inconsistent with arguments used in previous request(s).',
      );
    if (before) return { capacityReservation: this.xml(before) };
    const type = this.readType(form);
    const zone = this.readZone(form);
    const count = form.number('InstanceCount') ?? 0;
    if (count < 1)
      throw new AwsError('InvalidParameterValue', `Value (${count}) for parameter instanceCount is invalid.`);
    const match = form.text('InstanceMatchCriteria') ?? 'open';
    if (match !== 'open' && match !== 'targeted')
      throw new AwsError('InvalidParameterValue', `Value (${match}) for parameter instanceMatchCriteria is invalid.`);
    const end = readEnd(form);
    const platform = form.required('InstancePlatform');
    const tags = this.readTags(form, 'TagSpecifications', caller);
    if (this.fits(type, zone, count) < count)
      throw new AwsError(
        'InsufficientInstanceCapacity',
        `We currently do not have sufficient ${type} capacity in the Availability Zone you requested (${zone}).`,
        500,
      );
    const start = Date.now();
    const traits = { type, zone, count, platform, match, start, end, tags, clientToken, fingerprint } as const;
    return { capacityReservation: this.xml(this.reservations.add({ kind: 'default', ...traits })) };
  }

  private describe(form: Form): { [name: string]: Xml } {
    const ids = form.list('CapacityReservationId');
    const found = select<CapacityReservation>(
      form,
      ids.length ? ids.map((id) => this.reservations.find(id)) : this.reservations.all(),
      {
        'instance-type': ({ type }) => type,
        'availability-zone': ({ zone }) => zone,
        'instance-platform': ({ platform }) => platform,
        'instance-match-criteria': ({ match }) => match,
        'end-date-type': ({ end }) => (end === undefined ? 'unlimited' : 'limited'),
        'owner-id': () => ACCOUNT,
        tenancy: () => 'default',
        state: (each) => this.reservations.state(each),
      },
      ({ tags }) => tags,
    );
    const { rows, nextToken } = page(form, found);
    return { capacityReservationSet: rows.map((each) => this.xml(each)), nextToken };
  }

  /** Its instances run on, as other on-demand instances do. */
  private cancel(form: Form): { [name: string]: Xml } {
    const found = this.reservations.find(form.required('CapacityReservationId'));
    if (found.kind === 'capacity-block')
      throw new AwsError('OperationNotPermitted', `The Capacity Block ${found.id} can't be cancelled.`);
    this.reservations.save({ ...found, cancelled: true });
    return { return: true };
  }

  /** One in each zone that has the type, from the earliest start that is asked for. */
  private describeOfferings(form: Form): { [name: string]: Xml } {
    const type = this.readType(form);
    const [count, hours] = [form.number('InstanceCount') ?? 1, form.number('CapacityDurationHours') ?? 0];
    if (count < 1 || count > MAX_BLOCK_INSTANCES)
      throw new AwsError('InvalidParameterValue', `Value (${count}) for parameter instanceCount is invalid.`);
    const step = hours <= MAX_DAYS_HOURS ? DAY_HOURS : WEEK_HOURS;
    if (hours < DAY_HOURS || hours > MAX_HOURS || hours % step !== 0)
      throw new AwsError('InvalidParameterValue', `Value (${hours}) for parameter capacityDurationHours is invalid.`);
    const start = Math.max(Date.now(), form.time('StartDateRange') ?? 0);
    const letters = instanceType(type)!.zones;
    const zones = this.zones.filter(({ name }) => letters === undefined || letters.includes(name.slice(-1)));
    const offered = zones.map(({ name }) => {
      const offering = { type, zone: name, count, start, end: start + hours * HOUR_MS };
      const id = `cb-${this.offerings.size.toString(16).padStart(17, '0')}`;
      this.offerings.set(id, offering);
      return this.offeringXml(id, offering);
    });
    return { capacityBlockOfferingSet: offered };
  }

  private purchase(form: Form, caller: Identity | null): { [name: string]: Xml } {
    const id = form.required('CapacityBlockOfferingId');
    const offering = this.offerings.get(id);
    if (!offering)
      throw new AwsError(
        'InvalidCapacityBlockOfferingId.NotFound',
        `The Capacity Block offering '${id}' does not exist.`,
      );
    const platform = form.required('InstancePlatform');
    const tags = this.readTags(form, 'TagSpecification', caller);
    this.offerings.delete(id);
    const traits = { ...offering, platform, tags, match: 'targeted', fingerprint: '' } as const;
    return { capacityReservation: this.xml(this.reservations.add({ kind: 'capacity-block', ...traits })) };
  }

  private readType(form: Form): string {
    const type = form.required('InstanceType');
    if (!instanceType(type)) throw new AwsError('InvalidParameterValue', `Invalid value '${type}' for InstanceType.`);
    return type;
  }

  private readZone(form: Form): string {
    const [name, id] = [form.text('AvailabilityZone'), form.text('AvailabilityZoneId')];
    if (name === undefined && id === undefined) form.required('AvailabilityZone');
    const found = this.zones.find((zone) => (name === undefined ? zone.id === id : zone.name === name));
    if (!found) throw new AwsError('InvalidParameterValue', `Invalid availability zone: [${name ?? id}]`);
    return found.name;
  }

  private readTags(form: Form, name: string, caller: Identity | null): Record<string, string> {
    const tags = form.tagSpecifications(name)['capacity-reservation'];
    if (tags) alsoAllow(caller, 'ec2:CreateTags');
    return tags ?? {};
  }

  private xml(reservation: CapacityReservation): Xml {
    const { id, kind, type, zone, count, platform, match, created, start, end, tags } = reservation;
    return {
      capacityReservationId: id,
      capacityReservationArn: `arn:aws:ec2:${this.region}:${ACCOUNT}:capacity-reservation/${id}`,
      ownerId: ACCOUNT,
      reservationType: kind,
      instanceType: type,
      instancePlatform: platform,
      availabilityZone: zone,
      availabilityZoneId: this.zones.find(({ name }) => name === zone)?.id,
      tenancy: 'default',
      totalInstanceCount: count,
      availableInstanceCount: this.reservations.free(reservation),
      state: this.reservations.state(reservation),
      instanceMatchCriteria: match,
      createDate: timestamp(created),
      startDate: timestamp(start),
      endDate: end === undefined ? undefined : timestamp(end),
      endDateType: end === undefined ? 'unlimited' : 'limited',
      tagSet: tagSet(tags),
    };
  }

  private offeringXml(id: string, { type, zone, count, start, end }: Offering): Xml {
    const hours = Math.round((end - start) / HOUR_MS);
    return {
      capacityBlockOfferingId: id,
      instanceType: type,
      availabilityZone: zone,
      instanceCount: count,
      startDate: timestamp(start),
      endDate: timestamp(end),
      capacityBlockDurationHours: hours,
      upfrontFee: (onDemandPrice(instanceType(type)!) * count * hours).toFixed(2),
      currencyCode: 'USD',
      tenancy: 'default',
    };
  }
}

function readEnd(form: Form): number | undefined {
  const end = form.time('EndDate');
  const kind = form.text('EndDateType') ?? (end === undefined ? 'unlimited' : 'limited');
  if ((kind === 'limited') !== (end !== undefined))
    throw new AwsError(
      'InvalidParameterCombination',
      'An EndDate must be provided if EndDateType is limited, and only then.',
    );
  if (end !== undefined && end <= Date.now())
    throw new AwsError('InvalidParameterValue', 'The EndDate must be in the future.');
  return end;
}
