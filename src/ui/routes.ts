import { Problem } from '../report/problem';
import { compareRuns } from '../run/compare/runs';
import { describeDifference } from '../run/compare/describe';
import { isRunId } from '../schema/ids';
import type { DifferenceData } from './api';
import { readCheckpointFiles, readFiles, readSavedFile } from './files';
import { listInstances, type InstancesSource } from './instances';
import { readLog, type LogPlace } from './log';
import { MetricsCache } from './metrics';
import { detailOf } from './run-detail';
import type { StoreReader } from './store-reader';

/** A file that is handed out as an attachment. */
export class Download {
  constructor(
    readonly name: string,
    /** bytes */
    readonly size: number,
    readonly content: (signal: AbortSignal) => AsyncIterable<Buffer>,
  ) {}
}

export type Routes = Record<string, (query: URLSearchParams, signal: AbortSignal) => Promise<object>>;

/** Rows of one answer. */
const MAX_ROWS = 100;

/** What the page asks for, by the path of the request. All of it reads; nothing writes. */
export function uiRoutes(reader: StoreReader, instances: InstancesSource): Routes {
  const metrics = new MetricsCache();
  const find = (query: URLSearchParams) =>
    reader.run(projectOf(query), runOf(query, 'run'), numberOf(query, 'node', 0));
  return {
    '/api/overview': (query) => reader.overview(timeOf(query)),
    '/api/rows': async (query) => {
      const ids = (query.get('runs') ?? '').split(',');
      if (ids.length > MAX_ROWS || !ids.every(isRunId)) throw invalid('runs');
      return { rows: await reader.rows(projectOf(query), ids) };
    },
    '/api/run': async (query) => detailOf(await find(query)),
    '/api/metrics': async (query) => metrics.read(await find(query)),
    '/api/log': async (query, signal) => {
      const place = logPlace(query);
      return readLog(await find(query), place, signal);
    },
    '/api/files': async (query) => readFiles(await find(query)),
    '/api/checkpoint': async (query) => readCheckpointFiles(await find(query), numberOf(query, 'n')),
    '/api/file': async (query) => {
      const checkpoint = query.has('n') ? numberOf(query, 'n') : null;
      const { file, content } = await readSavedFile(await find(query), query.get('path') ?? '', checkpoint);
      return new Download(file.path.split('/').at(-1)!, file.size, content);
    },
    '/api/difference': async (query): Promise<DifferenceData> => {
      const other = await reader.run(projectOf(query, 'withProject'), runOf(query, 'with'), 0);
      const lines: string[] = [];
      const found = await compareRuns(other, await find(query), (text) => lines.push(text));
      return { lines: [...describeDifference(found), ...lines] };
    },
    '/api/instances': () => listInstances(instances),
  };
}

function projectOf(query: URLSearchParams, name = 'project'): string {
  const project = query.get(name) ?? '';
  // Others would lead out of the project's part of the store.
  if (!project || project.length > 512 || /^\.{1,2}$/.test(project) || !project.isWellFormed()) throw invalid(name);
  return project;
}

function runOf(query: URLSearchParams, name: string): string {
  const run = query.get(name) ?? '';
  if (!isRunId(run)) throw invalid(name);
  return run;
}

/** What ids of runs begin with that were started since then. */
function timeOf(query: URLSearchParams): string | undefined {
  const since = query.get('since') ?? undefined;
  if (since !== undefined && !/^\d{8}-\d{6}$/.test(since)) throw invalid('since');
  return since;
}

function numberOf(query: URLSearchParams, name: string, absent?: number): number {
  const text = query.get(name);
  if (text === null && absent !== undefined) return absent;
  if (!/^\d{1,15}$/.test(text ?? '')) throw invalid(name);
  return Number(text);
}

function logPlace(query: URLSearchParams): LogPlace {
  for (const where of ['from', 'at', 'before'] as const)
    if (query.has(where)) return { where, offset: numberOf(query, where) };
  return { where: 'end', offset: 0 };
}

function invalid(name: string): Problem {
  return new Problem('OPTION_INVALID', `The request is not valid: ${name}.`);
}
