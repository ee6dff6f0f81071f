import { SUBNET_ADDRESSES, type Zone } from '../../catalog/network';
import { AwsError } from '../../protocol/aws-error';

/** A limit of what EC2 can launch, and the error that it reports at the limit. */
export interface Shortage {
  /** `eu-west-1a`; absent: any. */
  zone?: string;
  type?: string;
  market?: Market;
  /** How many matching instances can run at once; absent: 0. */
  instances?: number;
  /** Absent: InsufficientInstanceCapacity. */
  code?: ShortageCode;
  /** How many launches it limits; absent: all. */
  times?: number;
}

export const SHORTAGE_CODES = [
  'InsufficientInstanceCapacity',
  'InsufficientFreeAddressesInSubnet',
  'VcpuLimitExceeded',
  'MaxSpotInstanceCountExceeded',
] as const;

export type ShortageCode = (typeof SHORTAGE_CODES)[number];

export type Market = 'spot' | 'on-demand';

/** What an instance takes capacity of. */
export interface CapacityUse {
  zone: string;
  type: string;
  market: Market;
  /** A stopped instance keeps its address, and takes nothing else. */
  running: boolean;
}

export interface CapacityRequest {
  type: string;
  market: Market;
  /** Those that would do. */
  zones: string[];
  /** Whether the caller named the zone. */
  chosen: boolean;
}

/** The fewest and the most instances that a launch accepts. */
export interface LaunchCount {
  min: number;
  max: number;
}

/** What EC2 can launch: everything but what is short. */
export class Capacity {
  private readonly shortages: Shortage[] = [];
  private readonly subnets: Shortage[];

  /** @param used what each instance takes that is not terminated. */
  constructor(
    zones: Zone[],
    private readonly used: () => CapacityUse[],
  ) {
    const code = 'InsufficientFreeAddressesInSubnet';
    this.subnets = zones.map(({ name }) => ({ zone: name, code, instances: SUBNET_ADDRESSES }));
  }

  add(shortage: Shortage): void {
    this.shortages.push({ ...shortage });
  }

  /** From now on there is enough of everything. */
  clear(): void {
    this.shortages.length = 0;
  }

  /**
   * Chooses the zone for a launch: the first with capacity for all instances, else the one with the most. All instances
   * of a launch are in one zone.
   * @throws AwsError where no zone has capacity for the fewest.
   */
  take({ type, market, zones, chosen }: CapacityRequest, { min, max }: LaunchCount): { zone: string; count: number } {
    let best = { zone: zones[0], count: 0 };
    let refusal: Shortage | undefined;
    for (const zone of zones) {
      const { count, limit } = this.room({ zone, type, market }, max);
      if (count > best.count) best = { zone, count };
      if (limit === undefined) return best;
      refusal = limit;
      if (limit.times !== undefined && --limit.times <= 0) this.shortages.splice(this.shortages.indexOf(limit), 1);
    }
    if (best.count >= min) return best;
    throw refusalOf(refusal!, type, market, zones, chosen);
  }

  /** How many addresses a zone's subnet has left. */
  addresses(zone: string): number {
    const limits = this.limits().filter((each) => isOfAddresses(each) && meets(each, { zone }));
    return Math.min(...limits.map((each) => this.free(each)));
  }

  private limits(): Shortage[] {
    return [...this.shortages, ...this.subnets];
  }

  private free(limit: Shortage): number {
    const counted = this.used().filter((each) => (each.running || isOfAddresses(limit)) && meets(limit, each));
    return Math.max(0, (limit.instances ?? 0) - counted.length);
  }

  /** How many of `max` instances fit, and what limits them. */
  private room(asked: Omit<CapacityUse, 'running'>, max: number): { count: number; limit?: Shortage } {
    let room: { count: number; limit?: Shortage } = { count: max };
    for (const limit of this.limits().filter((each) => meets(each, asked))) {
      const free = this.free(limit);
      if (free < room.count) room = { count: isOfCapacity(limit) ? free : 0, limit };
    }
    return room;
  }
}

/** A lack of capacity reduces a launch to what fits; a quota, or a subnet, refuses it if its MaxCount exceeds what is left. */
function isOfCapacity({ code = 'InsufficientInstanceCapacity' }: Shortage): boolean {
  return code === 'InsufficientInstanceCapacity';
}

function isOfAddresses({ code }: Shortage): boolean {
  return code === 'InsufficientFreeAddressesInSubnet';
}

function meets(shortage: Shortage, asked: Partial<CapacityUse>): boolean {
  return (['zone', 'type', 'market'] as const).every(
    (each) => shortage[each] === undefined || shortage[each] === asked[each],
  );
}

function refusalOf({ code }: Shortage, type: string, market: Market, zones: string[], chosen: boolean): AwsError {
  switch (code) {
    case 'VcpuLimitExceeded':
      return new AwsError(
        code,
        'You have requested more vCPU capacity than your current vCPU limit of 0 allows for the instance bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.',
      );
    case 'InsufficientFreeAddressesInSubnet':
      return new AwsError(
        code,
        'The specified subnet does not contain enough free private IP addresses to fulfill your request.',
      );
    case 'MaxSpotInstanceCountExceeded':
      return new AwsError(code, 'Max spot instance count exceeded');
    default: {
      const text =
        market === 'spot'
          ? 'There is no Spot capacity available that matches your request.'
          : chosen
            ? `We currently do not have sufficient ${type} capacity in the Availability Zone you requested (${zones[0]}). Our system will be working on provisioning additional capacity. You can currently get ${type} capacity by not specifying an Availability Zone in your request.`
            : `We currently do not have sufficient ${type} capacity in the region you requested. Our system will be working on provisioning additional capacity.`;
      return new AwsError('InsufficientInstanceCapacity', text, 500);
    }
  }
}
