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
  /** Capacity that is only reserved has none. */
  hasAddress: boolean;
}

/** Where a launch takes capacity. */
export type Place = Omit<CapacityUse, 'running' | 'hasAddress'>;

/** How many instances fit in a place, and what limits them. */
export interface Fit {
  count: number;
  limit?: Shortage;
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

  /** Finds how many of `max` instances fit in one place after another; what one place is given, the next can't have. */
  planner(): (place: Place, max: number) => Fit {
    const taken: CapacityUse[] = [];
    return (place, max) => {
      const fit = this.room(place, max, taken);
      for (let count = 0; count < fit.count; count++) taken.push({ ...place, running: true, hasAddress: true });
      return fit;
    };
  }

  /** These have limited one more launch. */
  countDown(limits: Set<Shortage>): void {
    for (const limit of limits)
      if (limit.times !== undefined && --limit.times <= 0) this.shortages.splice(this.shortages.indexOf(limit), 1);
  }

  /** How many addresses a zone's subnet has left. */
  addresses(zone: string): number {
    const limits = this.limits().filter((each) => isOfAddresses(each) && meets(each, { zone }));
    return Math.min(...limits.map((each) => this.free(each)));
  }

  private limits(): Shortage[] {
    return [...this.shortages, ...this.subnets];
  }

  private free(limit: Shortage, taken: CapacityUse[] = []): number {
    const counted = [...this.used(), ...taken].filter(
      (each) => (isOfAddresses(limit) ? each.hasAddress : each.running) && meets(limit, each),
    );
    return Math.max(0, (limit.instances ?? 0) - counted.length);
  }

  private room(place: Place, max: number, taken: CapacityUse[]): Fit {
    let fit: Fit = { count: max };
    for (const limit of this.limits().filter((each) => meets(each, place))) {
      const free = this.free(limit, taken);
      if (free < fit.count) fit = { count: isOfCapacity(limit) ? free : 0, limit };
    }
    return fit;
  }
}

/**
 * Where capacity is short, a launch gets as many instances as there is capacity for. A quota, or the free addresses of a
 * subnet, refuse a launch whose MaxCount is larger than what remains.
 */
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

/** @param chosen whether the caller named the zone. */
export function shortageError({ code }: Shortage, { type, market, zone }: Place, chosen: boolean): AwsError {
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
            ? `We currently do not have sufficient ${type} capacity in the Availability Zone you requested (${zone}). Our system will be working on provisioning additional capacity. You can currently get ${type} capacity by not specifying an Availability Zone in your request.`
            : `We currently do not have sufficient ${type} capacity in the region you requested. Our system will be working on provisioning additional capacity.`;
      return new AwsError('InsufficientInstanceCapacity', text, 500);
    }
  }
}
