import { hash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import type { Aws } from '../../aws/clients';
import { customEndpoint } from '../../aws/endpoint-variable';
import { sdk } from '../../aws/sdk';
import { Problem } from '../../report/problem';
import { readCache, writeCache } from '../../system/cache-file';
import { machineState } from '../../workspace/state';

/** What the price list says, and the day (UTC) on which it was asked. */
export interface ListPrice {
  /** USD. */
  perHour: number;
  date: string;
}

/** What was asked is believed so long, ms. */
const PRICE_CACHE_TTL_MS = 24 * 3600_000;

/** The part of the price list's JSON that is read (AWS Billing user guide, "Reading the service price list file"). */
interface Listed {
  terms?: {
    OnDemand?: Record<
      string,
      { priceDimensions?: Record<string, { unit?: string; pricePerUnit?: Record<string, string> }> }
    >;
  };
}

/** @throws Problem, or the SDK's error, where the price list does not say it. */
export async function onDemandPrice(aws: Aws, region: string, type: string, signal?: AbortSignal): Promise<ListPrice> {
  return remembered(`${region} ${type}`, async () => {
    const wanted = {
      instanceType: type,
      regionCode: region,
      operatingSystem: 'Linux',
      tenancy: 'Shared',
      preInstalledSw: 'NA',
      capacitystatus: 'Used',
    };
    return ask(aws, wanted, 'Hrs', `${type} in ${region}`, signal);
  });
}

/** What a GB of a gp3 volume costs for a month, USD; null where AWS does not say it. */
export async function volumePrice(aws: Aws): Promise<number | null> {
  try {
    const region = await aws.region();
    const wanted = { productFamily: 'Storage', volumeApiName: 'gp3', regionCode: region };
    const signal = AbortSignal.timeout(5_000);
    return (await remembered(`${region} gp3`, () => ask(aws, wanted, 'GB-Mo', `gp3 in ${region}`, signal))).perHour;
  } catch {
    return null;
  }
}

async function ask(
  aws: Aws,
  wanted: Record<string, string>,
  unit: string,
  what: string,
  abortSignal?: AbortSignal,
): Promise<number> {
  const { GetProductsCommand } = sdk.pricing();
  const pricing = await aws.pricing();
  const { PriceList = [] } = await pricing.send(
    new GetProductsCommand({
      ServiceCode: 'AmazonEC2',
      Filters: Object.entries(wanted).map(([Field, Value]) => ({ Type: 'TERM_MATCH', Field, Value })),
      MaxResults: 100,
    }),
    { abortSignal },
  );
  const prices = (PriceList as unknown[])
    .map((each) => JSON.parse(String(each)) as Listed)
    .flatMap(({ terms }) => Object.values(terms?.OnDemand ?? {}))
    .flatMap(({ priceDimensions }) => Object.values(priceDimensions ?? {}))
    .filter((each) => each.unit === unit)
    .map(({ pricePerUnit }) => Number(pricePerUnit?.USD))
    .filter((price) => price > 0);
  if (!prices.length) throw new Problem('PRICE', `The price list has no price of ${what} in USD.`);
  return Math.min(...prices);
}

const schema = z.object({ v: z.literal(1), perHour: z.number().positive(), at: z.number() });

/** The list changes a few times a month: what this machine has asked is not asked again on the same day. */
async function remembered(name: string, asking: () => Promise<number>): Promise<ListPrice> {
  const where = hash('sha256', `${customEndpoint('pricing') ?? ''}\n${name}`, 'hex').slice(0, 32);
  const file = join(machineState(), 'prices', where);
  const known = readCache(file, (bytes) => schema.parse(JSON.parse(bytes.toString())));
  if (known && Math.abs(Date.now() - known.at) < PRICE_CACHE_TTL_MS)
    return { perHour: known.perHour, date: day(known.at) };
  const perHour = await asking();
  const at = Date.now();
  writeCache(file, JSON.stringify({ v: 1, perHour, at }));
  return { perHour, date: day(at) };
}

function day(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}
