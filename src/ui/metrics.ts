import { readMetrics, type RunMetrics } from '../run/metrics/read-metrics';
import { prefixOfRecord } from '../run/record/record';
import type { Series } from '../run/metrics/series';
import type { MetricsData, SeriesData } from './api';
import { marksOf } from './run-detail';
import type { FoundRun } from './store-reader';

/** Runs whose metrics are remembered. */
const MAX_RUNS = 20;

/** Reads the metrics of runs, again only where their record has changed. */
export class MetricsCache {
  private readonly known = new Map<string, { version: string; metrics: Promise<RunMetrics> }>();

  async read({ store, keys, record }: FoundRun): Promise<MetricsData> {
    const name = prefixOfRecord(keys, record);
    const version = `${record.attempt} ${record.heartbeat}`;
    let entry = this.known.get(name);
    this.known.delete(name);
    if (entry?.version !== version) entry = { version, metrics: readMetrics(store, keys, record) };
    this.known.set(name, entry);
    if (this.known.size > MAX_RUNS) this.known.delete(this.known.keys().next().value!);
    const { training, machine, trouble } = await entry.metrics.catch((error: unknown) => {
      this.known.delete(name);
      throw error;
    });
    const start = record.startedAt ?? record.createdAt;
    return { start, training: dataOf(training), machine: dataOf(machine), marks: marksOf(record), trouble };
  }
}

function dataOf(series: ReadonlyMap<string, Series>): SeriesData[] {
  return [...series].map(([name, { points, min, max, last }]) => ({
    name,
    points: points.map(({ at, value }) => [at, value]),
    min,
    max,
    last,
  }));
}
