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
  code?: 'InsufficientInstanceCapacity' | 'VcpuLimitExceeded' | 'MaxSpotInstanceCountExceeded';
  /** How many launches it limits; absent: all. */
  times?: number;
}

export type Market = 'spot' | 'on-demand';

/** What a launch or an instance takes capacity of. */
export interface CapacityUse {
  zone: string;
  type: string;
  market: Market;
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

  /** @param used what each running instance takes. */
  constructor(private readonly used: () => CapacityUse[]) {}

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

  /** How many of `max` instances fit, and what limits them. */
  private room(asked: CapacityUse, max: number): { count: number; limit?: Shortage } {
    let room: { count: number; limit?: Shortage } = { count: max };
    for (const limit of this.shortages.filter((each) => meets(each, asked))) {
      const running = this.used().filter((each) => meets(limit, each)).length;
      const free = Math.max(0, (limit.instances ?? 0) - running);
      if (free < room.count) room = { count: isQuota(limit) ? 0 : free, limit };
    }
    return room;
  }
}

/** A quota refuses a launch whose MaxCount exceeds it; a lack of capacity reduces the launch to what fits. */
function isQuota({ code = 'InsufficientInstanceCapacity' }: Shortage): boolean {
  return code !== 'InsufficientInstanceCapacity';
}

function meets(shortage: Shortage, asked: CapacityUse): boolean {
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
