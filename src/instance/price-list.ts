import { hash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { customEndpoint, type Aws } from '../aws/clients';
import { sdk } from '../aws/sdk';
import { Problem } from '../report/problem';
import { machineState } from '../workspace/state';

/** What the price list says, and the day (UTC) on which it was asked. */
export interface ListPrice {
  /** USD. */
  perHour: number;
  date: string;
}

/** What was asked is believed so long, ms. */
const BELIEVED = 24 * 3600_000;

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
      ...{ instanceType: type, regionCode: region, operatingSystem: 'Linux', tenancy: 'Shared' },
      ...{ preInstalledSw: 'NA', capacitystatus: 'Used' },
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

/** The list changes a few times a month: what this machine has asked is not asked again on the same day. */
async function remembered(name: string, asking: () => Promise<number>): Promise<ListPrice> {
  const where = hash('sha256', `${customEndpoint('pricing') ?? ''}\n${name}`, 'hex').slice(0, 32);
  const file = join(machineState(), 'prices', where);
  try {
    const { v, perHour, at } = JSON.parse(readFileSync(file, 'utf8')) as { v: number; perHour: number; at: number };
    if (v === 1 && perHour > 0 && Math.abs(Date.now() - at) < BELIEVED) return { perHour, date: day(at) };
  } catch {
    // Not asked yet, or nothing that we wrote.
  }
  const perHour = await asking();
  const at = Date.now();
  try {
    mkdirSync(join(machineState(), 'prices'), { recursive: true });
    writeFileSync(`${file}.${process.pid}`, JSON.stringify({ v: 1, perHour, at }));
    renameSync(`${file}.${process.pid}`, file);
  } catch {
    // It is asked again.
  }
  return { perHour, date: day(at) };
}

function day(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}
