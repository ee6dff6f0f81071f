import { z } from 'zod';
import { text } from '../../report/text-schema';
import type { StoreKeys } from '../../store/keys';
import { UnusableObject } from '../../store/objects/unusable';
import type { Store } from '../../store/store';
import { parseJson } from '../../system/bounded';
import { prefixOfRecord, type RunRecord } from '../record/record';
import { Series } from './series';

/** A segment holds 1,024 lines: docs/reference/formats.md, "Metrics". */
const MAX_SEGMENT_BYTES = 8 * 1024 * 1024;
/** So many segments are read, evenly spread over those of a longer run. */
const MAX_SEGMENTS = 400;
/** Segments that are read at once. */
const READERS = 8;
/** A run has at most so many metrics in a report. */
const MAX_NAMES = 200;

const value = z.number().nullable();
const sample = z.object({
  t: z.number().int().nonnegative(),
  host: z
    .object({
      cpu: value.optional(),
      memoryUsed: value.optional(),
      memoryTotal: value.optional(),
      diskUsed: value.optional(),
      diskTotal: value.optional(),
      networkIn: value.optional(),
      networkOut: value.optional(),
    })
    .nullish(),
  gpus: z
    .array(z.object({ utilization: value.optional(), memoryUsed: value.optional(), memoryTotal: value.optional() }))
    .max(256)
    .nullish(),
  training: z.record(text(200), value).optional(),
});

/** The metrics of a run over time. They are not signed: see docs/explanation/trust.md. */
export interface RunMetrics {
  /** What the training reports, by its name. */
  training: Map<string, Series>;
  /** What is measured of the instance, by a title. */
  machine: Map<string, Series>;
  /** A message that says what is missing; null where nothing is. */
  trouble: string | null;
}

/** Reads what the store has of a run's metrics; of a run on several nodes, those of the first one. */
export async function readMetrics(store: Store, keys: StoreKeys, record: RunRecord): Promise<RunMetrics> {
  const found: RunMetrics = { training: new Map(), machine: new Map(), trouble: null };
  const { segments } = record.metrics;
  const step = Math.max(1, Math.ceil(segments / MAX_SEGMENTS));
  const numbers = Array.from({ length: Math.ceil(segments / step) }, (_, n) => n * step);
  const troubles = new Set<string>();
  if (step > 1) troubles.add(`one of ${step} parts of the metrics is shown`);
  // In their order, and few at once: a segment of a hostile writer is large.
  for (let from = 0; from < numbers.length; from += READERS) {
    const some = numbers.slice(from, from + READERS);
    const read = await Promise.all(some.map((n) => readSegment(store, `${prefixOfRecord(keys, record)}metrics/${n}`)));
    for (const lines of read) {
      if (lines === null) troubles.add('a part of the metrics is missing in the store');
      else for (const line of lines) if (!take(found, line)) troubles.add('a part of the metrics is not readable');
    }
  }
  if (Math.max(found.training.size, found.machine.size) >= MAX_NAMES)
    troubles.add(`only ${MAX_NAMES} metrics are shown`);
  found.trouble = [...troubles].join('; ') || null;
  return found;
}

/** The metrics in the last segment of a run: at most its 1,024 latest samples, by one request. */
export async function readLatestMetrics(store: Store, keys: StoreKeys, record: RunRecord): Promise<RunMetrics> {
  const found: RunMetrics = { training: new Map(), machine: new Map(), trouble: null };
  const { segments } = record.metrics;
  if (segments < 1) return found;
  const lines = await readSegment(store, `${prefixOfRecord(keys, record)}metrics/${segments - 1}`);
  for (const line of lines ?? []) take(found, line);
  return found;
}

/** @returns null where it can't be had. */
async function readSegment(store: Store, key: string): Promise<string[] | null> {
  try {
    const bytes = await store.get(key, MAX_SEGMENT_BYTES);
    return bytes && bytes.toString().split('\n').filter(Boolean);
  } catch (error) {
    if (error instanceof UnusableObject) return null;
    throw error;
  }
}

/** @returns false where a line is none. */
function take(found: RunMetrics, line: string): boolean {
  let read;
  try {
    read = sample.safeParse(parseJson(Buffer.from(line)));
  } catch {
    return false;
  }
  if (!read.success) return false;
  const { t, host, gpus, training } = read.data;
  const add = (to: Map<string, Series>, name: string, value: number | null | undefined) => {
    if (value === null || value === undefined) return;
    let series = to.get(name);
    if (!series && to.size < MAX_NAMES) to.set(name, (series = new Series()));
    series?.add(t, value);
  };
  for (const [name, value] of Object.entries(training ?? {})) add(found.training, name, value);
  const share = (used?: number | null, total?: number | null) =>
    typeof used === 'number' && total ? (used / total) * 100 : null;
  const machine = (name: string, value: number | null | undefined) => add(found.machine, name, value);
  machine('Processors, %', host?.cpu);
  machine('Memory, %', share(host?.memoryUsed, host?.memoryTotal));
  machine('Disk, %', share(host?.diskUsed, host?.diskTotal));
  machine('Received, bytes/s', host?.networkIn);
  machine('Sent, bytes/s', host?.networkOut);
  for (const [n, gpu] of (gpus ?? []).entries()) {
    machine(`GPU ${n}, %`, gpu.utilization);
    machine(`Memory of GPU ${n}, %`, share(gpu.memoryUsed, gpu.memoryTotal));
  }
  return true;
}
