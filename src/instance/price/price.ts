import type { Aws } from '../../aws/clients';
import { awsProblem } from '../../aws/reason';
import { sdk } from '../../aws/sdk';
import type { Price } from '../../command/plan';
import { Problem } from '../../report/problem';
import { onDemandPrice } from './price-list';

export type { Price };

export interface Priced {
  type: string;
  market: Price['market'];
  /** Of a spot instance; absent: the cheapest one that has it. */
  zone?: string | null;
}

/** Nothing that waits for a price waits longer, ms. */
const PRICE_TIMEOUT_MS = 5_000;

/**
 * What an instance costs now: as configured, else as AWS says it.
 * @param configured USD an hour.
 * @param detail is told why there is no price.
 * @returns null where AWS does not say it: that is never a reason to fail.
 */
export async function priceOf(
  aws: Aws,
  { type, market, zone }: Priced,
  configured?: number,
  detail: (text: string) => void = () => undefined,
): Promise<Price | null> {
  try {
    const region = await aws.region();
    const date = new Date().toISOString().slice(0, 10);
    if (configured !== undefined)
      return {
        perHour: configured,
        market,
        where: market === 'spot' && zone ? zone : region,
        date,
        source: 'configured',
      };
    const signal = AbortSignal.timeout(PRICE_TIMEOUT_MS);
    if (market === 'spot')
      return { market, date, source: 'ec2', ...(await spotPrice(aws, type, zone ?? null, signal)) };
    const { perHour, date: told } = await onDemandPrice(aws, region, type, signal);
    return { perHour, market, where: region, date: told, source: 'pricing' };
  } catch (error) {
    const { message } = awsProblem('PRICE', `The price of ${type} (${market}) is unknown.`, error);
    detail(message);
    return null;
  }
}

async function spotPrice(
  aws: Aws,
  type: string,
  zone: string | null,
  abortSignal: AbortSignal,
): Promise<Pick<Price, 'perHour' | 'where'>> {
  const { DescribeSpotPriceHistoryCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const now = new Date();
  const { SpotPriceHistory = [] } = await ec2.send(
    new DescribeSpotPriceHistoryCommand({
      InstanceTypes: [type as never],
      ProductDescriptions: ['Linux/UNIX'],
      ...(zone ? { AvailabilityZone: zone } : {}),
      // The prices in force, one for each zone (EC2 API reference).
      StartTime: now,
      EndTime: now,
    }),
    { abortSignal },
  );
  const newest = new Map<string, { perHour: number; at: number }>();
  for (const { AvailabilityZone: where = '', SpotPrice, Timestamp } of SpotPriceHistory) {
    const [perHour, at] = [Number(SpotPrice), Timestamp?.getTime() ?? 0];
    if (perHour > 0 && at >= (newest.get(where)?.at ?? 0)) newest.set(where, { perHour, at });
  }
  const [cheapest] = [...newest].sort(([, a], [, b]) => a.perHour - b.perHour);
  if (!cheapest) throw new Problem('PRICE', `EC2 has no spot price of ${type}${zone ? ` in ${zone}` : ''}.`);
  return { where: cheapest[0], perHour: cheapest[1].perHour };
}

/** The price as its instance bears it: docs/reference/formats.md, "Tags". */
export function priceTag({ perHour, market, where, date, source }: Price): string {
  return `${decimal(perHour)} ${market} ${where} ${date} ${source}`;
}

/** No exponent, and ten decimals at the most: the price list has no more. */
function decimal(value: number): string {
  return value.toFixed(10).replace(/\.?0+$/, '');
}

const TAG =
  /^(\d{1,7}(?:\.\d{1,10})?) (spot|on-demand) ([a-z][a-z0-9-]{1,40}) (\d{4}-\d\d-\d\d) (ec2|pricing|configured)$/;

/** @returns null for a text that is no such tag. */
export function readPriceTag(text: string): Price | null {
  const [, amount, market, where, date, source] = TAG.exec(text) ?? [];
  if (amount === undefined || !(Number(amount) > 0) || Number.isNaN(Date.parse(date))) return null;
  return {
    perHour: Number(amount),
    market: market as Price['market'],
    where,
    date,
    source: source as Price['source'],
  };
}

/**
 * `$0.53 an hour (spot, eu-west-1a, EC2's price of 2026-11-25)`. What was configured is not looked into: it is not said
 * to be that of an on-demand instance.
 */
export function describePrice({ perHour, market, where, date, source }: Price): string {
  const configured = source === 'configured';
  const from = configured ? 'as configured' : source === 'ec2' ? `EC2's price of ${date}` : `the price list of ${date}`;
  const words = [configured && market === 'on-demand' ? '' : market, where, from].filter(Boolean);
  return `${dollars(perHour)} an hour (${words.join(', ')})`;
}

/** `$1.20`, `$0.0036`: two decimals, or as many as say something of less than ten cents. */
export function dollars(amount: number): string {
  if (amount >= 0.1 || amount <= 0) return `$${amount.toFixed(2)}`;
  return `$${decimal(Number(amount.toPrecision(2)))}`;
}
