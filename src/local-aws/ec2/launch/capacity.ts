import { AwsError } from '../../protocol/aws-error';

/** What EC2 has none of, or how else it refuses to launch. */
export interface Shortage {
  /** `eu-west-1a`; absent: any. */
  zone?: string;
  type?: string;
  market?: Market;
  /** Absent: InsufficientInstanceCapacity. */
  code?: 'InsufficientInstanceCapacity' | 'VcpuLimitExceeded' | 'MaxSpotInstanceCountExceeded';
  /** How many launches it refuses; absent: all. */
  times?: number;
}

export type Market = 'spot' | 'on-demand';

/** What EC2 can launch: everything but what is short. */
export class Capacity {
  private readonly shortages: Shortage[] = [];

  add(shortage: Shortage): void {
    this.shortages.push({ ...shortage });
  }

  /** From now on there is enough of everything. */
  clear(): void {
    this.shortages.length = 0;
  }

  /**
   * The zone, of those that would do, that has it.
   * @param chosen whether the caller named the zone.
   * @throws AwsError where none has.
   */
  take(type: string, market: Market, zones: string[], chosen: boolean): string {
    let refusal: Shortage | undefined;
    for (const zone of zones) {
      const short = this.shortages.find((each) => meets(each, { zone, type, market }));
      if (!short) return zone;
      if (short.times !== undefined && --short.times <= 0) this.shortages.splice(this.shortages.indexOf(short), 1);
      refusal = short;
    }
    throw refusalOf(refusal!, type, market, zones, chosen);
  }
}

function meets(shortage: Shortage, asked: { zone: string; type: string; market: Market }): boolean {
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
