import { AGAINST, type Result } from '../scenarios/scenario';
import { comparison } from './report';

describe('a comparison of two packages', () => {
  const measure = (share: number, processor: number, instance?: number) => ({
    processor: { client: 2_000, instance },
    more: { 'our share': share, 'processor, our share': processor },
  });
  const result = (rows: [string, object | undefined][]) =>
    ({ rows: rows.map(([contender, measured]) => ({ contender, measure: measured })) }) as unknown as Result;

  it('shows which part of each share of the time remains', () => {
    const rows = result([
      ['nx-ec2', measure(600, 450, 80)],
      [AGAINST, measure(1_200, 900, 64)],
    ]);
    expect(comparison(rows)).toEqual([
      '  our share of the time: 1.20 s → 600 ms, -50 %',
      '  our share of the processor time: 900 ms → 450 ms, -50 %',
      '  processor time on the instance: 64 ms → 80 ms, +25 %',
    ]);
  });

  it('leaves out what the machine cannot measure', () => {
    const rows = result([
      ['nx-ec2', measure(600, 450)],
      [AGAINST, measure(600, 450)],
    ]);
    expect(comparison(rows)).toHaveLength(2);
  });

  it('is empty without another package, or if its measurement failed', () => {
    expect(comparison(result([['nx-ec2', measure(1, 1)]]))).toEqual([]);
    expect(comparison(result([['nx-ec2', undefined]]))).toEqual([]);
  });
});
