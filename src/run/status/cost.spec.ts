import type { Price } from '../../command/plan';
import { costOf, describeCost } from './cost';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import { parseRecord, type RunRecord } from '../record/record';
import { recordOf } from '../record/saved-run.fixture';

const HOUR = 3_600_000;
const FIRST = 'i-00000000000000001';
const spot: Price = { perHour: 0.5, market: 'spot', where: 'eu-west-1a', date: '2026-11-25', source: 'ec2' };

function attempt(n: number, instance: string, startedAt: number | null, endedAt: number | null) {
  return { n, instance, startedAt, endedAt, exitCode: null, signal: null, why: null, price: null, nodes: null };
}

function run(more: Partial<RunRecord>, price: Price | null = spot): RunRecord {
  return recordOf({ instance: 'i-1', startedAt: 1, attempts: [], ...more, metadata: { ...metadata, price } });
}
const { metadata } = recordOf();

describe('what a run has cost', () => {
  it('is the price of its instance for the time that it has trained, so far or in all', () => {
    const going = run({ state: 'running', startedAt: HOUR, endedAt: null });
    expect(costOf(going, 3 * HOUR)).toEqual({ usd: 1, price: spot });
    expect(describeCost(going, 3 * HOUR)).toBe("$1.00, at $0.50 an hour (spot, eu-west-1a, EC2's price of 2026-11-25)");
    const ended = run({ startedAt: HOUR, endedAt: 2 * HOUR, attempts: [attempt(1, 'i-1', HOUR, 2 * HOUR)] });
    expect(costOf(ended, 99 * HOUR)!.usd).toBe(0.5);
  });

  it('counts the time on each instance, and not the time in between', () => {
    const attempts = [attempt(1, 'i-1', 0, 2 * HOUR), attempt(2, 'i-2', 5 * HOUR, 6 * HOUR)];
    const last = attempt(3, 'i-3', 9 * HOUR, 10 * HOUR);
    const of = (more: Partial<RunRecord>) => costOf(run({ startedAt: 0, ...more }), 12 * HOUR)!.usd / 0.5;
    expect(of({ attempts: [...attempts, last], instance: 'i-3', endedAt: 10.5 * HOUR })).toBe(2 + 1 + 1.5);
    // It has been active on a third one for 9 h.
    const going: Partial<RunRecord> = { state: 'running', endedAt: null, attempts, instance: 'i-3', since: 9 * HOUR };
    expect(of(going)).toBe(2 + 1 + 3);
    // On the same one again: it was there all the while.
    expect(of({ ...going, instance: 'i-2' })).toBe(2 + 7);
    // Each instance at its own price.
    const [first, second] = attempts;
    expect(of({ ...going, attempts: [{ ...first, price: { ...spot, perHour: 5 } }, second] })).toBe(20 + 1 + 3);
    // With one node more in its first attempt.
    const more = [{ ...attempt(1, 'i-1', 0, 2 * HOUR), nodes: 2 }, second];
    expect(of({ ...going, attempts: more })).toBe(4 + 1 + 3);
    expect(of({ ...going, attempts: more, instance: 'i-1' })).toBe(4 + 1 + 3);
    // Nobody saw the end of the first.
    expect(of({ ...going, attempts: [attempt(1, 'i-1', HOUR, null)] })).toBe(3);
  });

  it('is unknown without a price, and before the start', () => {
    expect(costOf(run({}, null))).toBeNull();
    expect(costOf(run({ startedAt: null, state: 'queued', endedAt: null }))).toBeNull();
  });

  it('is known for runs without a recorded price if a price is configured', () => {
    const { price: _, ...old } = { ...metadata, configuration: { pricePerHour: 2 } };
    const { since: __, ...record } = recordOf({ startedAt: 0, endedAt: HOUR, attempts: [attempt(1, FIRST, 0, HOUR)] });
    const stored = Buffer.from(JSON.stringify({ ...record, instance: FIRST, metadata: old }));
    expect(describeCost(parseRecord(stored, record.id, 'k'))).toBe('$2.00, at $2.00 an hour (as configured)');
  });
});

describe('the price of a run', () => {
  it('is recorded: the price of the launch, or else the configured one', async () => {
    const at = await startPipeline();
    const pipe = await new Pipeline(at, 'auto').open({ pricePerHour: 2 });
    pipe.write('model/train.py', 'pass\n');
    const train = async (price?: Price) => {
      const { run } = await pipe.train({ rerun: true }, { price: price && (() => price) });
      return (await pipe.follow(run)).run;
    };
    const [one, other] = [await train(), await train(spot)];
    pipe.close();
    await at.close();
    expect(one.metadata.price).toMatchObject({ perHour: 2, where: 'eu-west-1', source: 'configured' });
    expect(one.since).toBe(one.startedAt);
    expect(other.metadata.price).toEqual(spot);
    expect(costOf(other)).toMatchObject({ usd: expect.any(Number), price: spot });
  });
});
