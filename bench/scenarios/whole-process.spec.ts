import type { Measure } from './scenario';
import { paired, summarize } from './whole-process';

const measures = (values: [time: number, client?: number, instance?: number][]) =>
  values.map(([time, client, instance]) => ({ time, processor: { client, instance }, more: {} }) as Measure);

describe('rounds of whole processes', () => {
  it('give the median of the differences within each round, since a slow moment slows both processes', () => {
    const ours = measures([[1_500], [5_500], [1_700]]);
    const nothing = measures([[1_000], [5_000], [1_000]]);
    expect(paired(ours, nothing, ({ time }) => time)).toBe(500);
  });

  it('are reported by the median time and processor time, and by the mean of coarse processor times', () => {
    const { time, processor, more } = summarize(
      measures([
        [3_000, 900, 60],
        [1_000, 700, 70],
        [2_000, 100, 80],
      ]),
    );
    expect({ time, processor }).toEqual({ time: 2_000, processor: { client: 700, instance: 70 } });
    expect(more).toEqual({ fastest: 1_000, slowest: 3_000 });
  });

  it('have no processor time if one round has none', () => {
    expect(
      summarize(
        measures([
          [1, 5],
          [2, undefined],
        ]),
      ).processor,
    ).toEqual({
      client: undefined,
      instance: undefined,
    });
  });
});
