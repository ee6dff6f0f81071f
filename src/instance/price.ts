import type { Aws } from '../aws/clients';
import { sdk } from '../aws/sdk';

/** What an hour of an instance costs. */
export interface Price {
  /** USD. */
  perHour: number;
  market: 'spot' | 'on-demand';
  /** Region or zone. */
  where: string;
  /** yyyy-mm-dd */
  date: string;
  source: 'ec2' | 'pricing' | 'configured';
}

/**
 * What an instance costs now: as configured, else as EC2 says it of spot capacity; null where it is not known.
 * @param configured USD an hour.
 */
export async function priceOf(
  aws: Aws,
  { type, market, zone }: { type: string; market: Price['market']; zone?: string | null },
  configured?: number,
): Promise<Price | null> {
  const date = new Date().toISOString().slice(0, 10);
  if (configured !== undefined)
    return { perHour: configured, market, where: zone ?? (await aws.region()), date, source: 'configured' };
  if (market !== 'spot') return null;
  const { DescribeSpotPriceHistoryCommand } = sdk.ec2();
  const now = new Date();
  try {
    const ec2 = await aws.ec2();
    const { SpotPriceHistory: [found] = [] } = await ec2.send(
      new DescribeSpotPriceHistoryCommand({
        InstanceTypes: [type as never],
        ProductDescriptions: ['Linux/UNIX'],
        ...(zone ? { AvailabilityZone: zone } : {}),
        ...{ StartTime: now, EndTime: now },
      }),
    );
    const perHour = Number(found?.SpotPrice);
    return perHour > 0 ? { perHour, market, where: found.AvailabilityZone!, date, source: 'ec2' } : null;
  } catch {
    return null;
  }
}

/** The price as its instance bears it: docs/FORMAT.md, "Tags". */
export function priceTag({ perHour, market, where, date, source }: Price): string {
  return `${perHour} ${market} ${where} ${date} ${source}`;
}

const TAG =
  /^(\d{1,7}(?:\.\d{1,10})?) (spot|on-demand) ([a-z][a-z0-9-]{1,40}) (\d{4}-\d\d-\d\d) (ec2|pricing|configured)$/;

/** @returns null for a text that is no such tag. */
export function readPriceTag(text: string): Price | null {
  const [, amount, market, where, date, source] = TAG.exec(text) ?? [];
  if (amount === undefined || !(Number(amount) > 0)) return null;
  return {
    perHour: Number(amount),
    market: market as Price['market'],
    where,
    date,
    source: source as Price['source'],
  };
}

/** `$0.53 an hour (spot, eu-west-1a)`. */
export function describePrice({ perHour, market, where }: Price): string {
  return `${dollars(perHour)} an hour (${market}, ${where})`;
}

/** `$1.20`, `$0.0036`. */
export function dollars(amount: number): string {
  return amount >= 0.1 || amount <= 0 ? `$${amount.toFixed(2)}` : `$${Number(amount.toPrecision(2))}`;
}
