import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { Aws } from '../../aws/clients';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { startPipeline } from '../../run/pipeline.fixture';
import { describePrice, dollars, priceOf, priceTag, readPriceTag, type Price } from './price';
import { volumePrice } from './price-list';

const today = new Date().toISOString().slice(0, 10);

describe('what an instance costs', () => {
  let at: Fixture;
  let aws: Aws;
  let memory: string;
  beforeAll(async () => {
    at = await startPipeline({ instances: [] });
  });
  afterAll(() => at.close());
  beforeEach(() => {
    memory = process.env.NX_EC2_CACHE_DIRECTORY = mkdtempSync(join(tmpdir(), 'nx-ec2-prices-'));
    aws = new Aws({});
    at.aws.requests.length = 0;
  });
  afterEach(() => {
    aws.close();
    at.aws.faults.clear();
    rmSync(memory, { recursive: true, force: true });
  });

  const asked = () => at.aws.requests.map(({ service, action }) => `${service}:${action}`);
  const refuse = (service: string, action: string) =>
    at.aws.faults.add({
      service,
      action,
      times: 9,
      error: { code: service === 'ec2' ? 'UnauthorizedOperation' : 'AccessDeniedException', message: 'not you' },
    });

  it("is EC2's spot price in the zone, or in the cheapest zone", async () => {
    const spot = (zone?: string) => priceOf(aws, { type: 'g5.xlarge', market: 'spot', zone });
    expect(await spot('eu-west-1b')).toEqual({
      perHour: 0.468615,
      market: 'spot',
      where: 'eu-west-1b',
      date: today,
      source: 'ec2',
    });
    expect(await spot()).toMatchObject({ perHour: 0.4463, where: 'eu-west-1a' });
    expect(asked()).toEqual(['ec2:DescribeSpotPriceHistory', 'ec2:DescribeSpotPriceHistory']);
  });

  it("is the price of the region's price list, which is read once a day", async () => {
    const price = () => priceOf(aws, { type: 'g5.xlarge', market: 'on-demand', zone: 'eu-west-1b' });
    const expected = { perHour: 1.2496, market: 'on-demand', where: 'eu-west-1', date: today, source: 'pricing' };
    expect(await price()).toEqual(expected);
    expect(await price()).toEqual(expected);
    expect(asked()).toEqual(['pricing:GetProducts']);
    expect(await volumePrice(aws)).toBe(0.088);
  });

  it('is the configured price, if there is one', async () => {
    expect(await priceOf(aws, { type: 'g5.xlarge', market: 'on-demand' }, 0.75)).toEqual({
      perHour: 0.75,
      market: 'on-demand',
      where: 'eu-west-1',
      date: today,
      source: 'configured',
    });
    expect(await priceOf(aws, { type: 'x', market: 'spot', zone: 'eu-west-1c' }, 1)).toMatchObject({
      where: 'eu-west-1c',
    });
    expect(asked()).toEqual([]);
  });

  it.each([
    ['spot', 'ec2', 'DescribeSpotPriceHistory', /UnauthorizedOperation: not you/],
    ['on-demand', 'pricing', 'GetProducts', /AccessDeniedException: not you/],
  ] as const)('is unknown, with the reason, if AWS does not give it (%s)', async (market, service, action, why) => {
    refuse(service, action);
    const said: string[] = [];
    expect(await priceOf(aws, { type: 'g5.xlarge', market }, undefined, (text) => said.push(text))).toBeNull();
    expect(said).toEqual([expect.stringMatching(why)]);
    at.aws.faults.clear();
    const unknown = { type: 'zz9.huge', market };
    expect(await priceOf(aws, unknown, undefined, (text) => said.push(text))).toBeNull();
    expect(said[1]).toMatch(/zz9\.huge/);
  });

  it('is shown with what it is the price of', () => {
    const price: Price = { perHour: 0.53, market: 'spot', where: 'eu-west-1a', date: '2026-11-25', source: 'ec2' };
    expect(describePrice(price)).toBe("$0.53 an hour (spot, eu-west-1a, EC2's price of 2026-11-25)");
    expect(describePrice({ ...price, source: 'configured' })).toBe('$0.53 an hour (spot, eu-west-1a, as configured)');
    expect(describePrice({ ...price, market: 'on-demand', where: 'eu-west-1', source: 'configured' })).toBe(
      '$0.53 an hour (eu-west-1, as configured)',
    );
    expect([1.204, 0.0036, 0, 12.345, 0.1].map(dollars)).toEqual(['$1.20', '$0.0036', '$0.00', '$12.35', '$0.10']);
  });
});

describe('the tag of a price', () => {
  const price: fc.Arbitrary<Price> = fc.record({
    perHour: fc.double({ min: 1e-6, max: 999_999, noNaN: true }),
    market: fc.constantFrom('spot', 'on-demand'),
    where: fc.constantFrom('eu-west-1', 'eu-west-1a', 'us-gov-east-1b', 'us-west-2-lax-1a'),
    date: fc
      .date({ min: new Date('2020-01-01'), max: new Date('2099-12-31'), noInvalidDate: true })
      .map((date) => date.toISOString().slice(0, 10)),
    source: fc.constantFrom('ec2', 'pricing', 'configured'),
  });

  it('is read as it was written, and is accepted by EC2', () => {
    fc.assert(
      fc.property(price, (each) => {
        const tag = priceTag(each);
        expect(tag).toMatch(/^[\w .-]{1,256}$/);
        const read = readPriceTag(tag)!;
        expect(read).toEqual({ ...each, perHour: expect.closeTo(each.perHour, 9) });
        expect(priceTag(read)).toBe(tag);
      }),
    );
  });

  it('is ignored if another program wrote it', () => {
    const good = '0.53 spot eu-west-1a 2026-11-25 ec2';
    expect(readPriceTag(good)).not.toBeNull();
    for (const text of ['', ' ', `${good} `, `${good}\n`, good.replace('ec2', '\x1b[2J'), good.replace('0.53', '-1')])
      expect(readPriceTag(text)).toBeNull();
    for (const text of ['1e3', '0', '0x10', 'NaN', 'Infinity', '9'.repeat(30)])
      expect(readPriceTag(good.replace('0.53', text))).toBeNull();
    expect(readPriceTag(good.replace('2026-11-25', '2026-13-45'))).toBeNull();
    fc.assert(
      fc.property(fc.string(), (text) => {
        const read = readPriceTag(text);
        if (read) expect(Number.isFinite(read.perHour)).toBe(true);
      }),
    );
  });
});
