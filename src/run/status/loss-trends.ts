import { readLatestMetrics } from '../metrics/read-metrics';
import type { RunContext } from '../../context/types';
import type { RunRecord } from '../record/record';

/** Values of one run that are kept, the newest. */
const MAX_VALUES = 2_000;
const LEVELS = '▁▂▃▄▅▆▇█';
/** The columns of a sparkline. */
const WIDTH = 12;

/** The name of the loss among the metrics of a run; null: it has none. `loss` before `train_loss` before any other. */
export function lossOf(names: readonly string[]): string | null {
  const losses = names.filter((name) => /(?:^|[^a-z])loss(?:$|[^a-z])/i.test(name));
  const rank = (name: string) => {
    if (/^loss$/i.test(name)) return 0;
    if (/^train[^a-z]/i.test(name)) return 1;
    return /val|eval|test/i.test(name) ? 3 : 2;
  };
  return losses.reduce<string | null>((best, name) => (best !== null && rank(best) <= rank(name) ? best : name), null);
}

/** A line of at most 12 characters that shows how values went: each character is the mean of its part of them. */
export function sparkline(values: readonly number[]): string {
  if (values.length < 2) return '';
  const count = Math.min(WIDTH, values.length);
  const means = Array.from({ length: count }, (_, n) => {
    const part = values.slice(Math.floor((n * values.length) / count), Math.floor(((n + 1) * values.length) / count));
    // Divided first: the sum of large numbers is infinite.
    return part.reduce((sum, each) => sum + each / part.length, 0);
  });
  const low = Math.min(...means);
  const range = Math.max(...means) - low;
  const share = (mean: number) => (range > 0 && Number.isFinite(range) ? (mean - low) / range : 0.5);
  return means.map((mean) => LEVELS[Math.min(LEVELS.length - 1, Math.floor(share(mean) * LEVELS.length))]).join('');
}

/** How the losses of runs went: what the store has of them when a run is first seen, and the record's latest value at each look. */
export class LossTrends {
  private readonly values = new Map<string, number[]>();

  /** @param onRequest called for each request. */
  constructor(
    private readonly context: RunContext,
    private readonly onRequest: () => void,
  ) {}

  /** The sparkline of a run, with what its record says now; '' where there is none. */
  async look(record: RunRecord): Promise<string> {
    const name = lossOf(Object.keys(record.metrics.training));
    if (name === null) return '';
    const key = `${record.id} ${name}`;
    let values = this.values.get(key);
    if (!values) {
      this.onRequest();
      const { store, keys } = this.context;
      const series = (await readLatestMetrics(store, keys, record)).training.get(name);
      values = series?.points.map(({ value }) => value) ?? [];
      this.values.set(key, values);
    }
    const latest = record.metrics.training[name];
    if (latest !== null && latest !== values.at(-1)) values.push(latest);
    if (values.length > MAX_VALUES) values.splice(0, values.length - MAX_VALUES);
    return sparkline(values);
  }
}
