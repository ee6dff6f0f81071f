import { printablePath, sanitizeForTerminal } from '../report/terminal-text';
import { Problem } from '../report/problem';
import { readProjects } from '../run/find/run-states';
import { wasInterrupted } from '../run/record/interruption';
import { readNodeRecord, type ReadRecord, type RunRecord } from '../run/record/record';
import { RUN_ID } from '../schema/ids';
import { StoreKeys } from '../store/keys';
import type { Store } from '../store/store';
import { mapConcurrent } from '../system/side-by-side';
import type { Overview, ProjectRuns, Row } from './api';
import { rowOf } from './run-row';
import { troubleOf } from './trouble';

/** Requests to the store at once. */
const CONCURRENCY = 32;
/** Runs of a project that are listed, and records that are remembered. */
const MAX_RUNS = 50_000;
const MAX_REMEMBERED = 20_000;

/** A run in the store, as far as the page needs it. */
export interface FoundRun {
  store: Store;
  keys: StoreKeys;
  record: RunRecord;
  /** Of the run itself where `record` is that of another node. */
  heard: number;
}

/** Reads the runs of a store. What has ended is read once. */
export class StoreReader {
  private readonly ended = new Map<string, Row>();

  /** @param only the project that is shown; undefined: all of the store */
  constructor(
    private readonly store: Store,
    private readonly prefix: string,
    private readonly only?: string,
  ) {}

  /** The projects and the ids of their runs. @param since what ids of runs begin with that were started then. */
  async overview(since?: string): Promise<Overview> {
    const { names, isPartial } =
      this.only === undefined ? await readProjects(this.store, this.prefix) : { names: [this.only], isPartial: false };
    const projects: ProjectRuns[] = [];
    const partial = isPartial ? [`only ${names.length} projects are listed`] : [];
    await mapConcurrent(names, CONCURRENCY, async (project) => {
      const name = printablePath(project);
      try {
        const keys = new StoreKeys(this.prefix, project);
        const listed = await this.store.listFirstDirectories(keys.run(''), MAX_RUNS, since);
        const runs = listed.names.filter((id) => RUN_ID.test(id)).reverse();
        if (listed.isPartial) partial.push(`only the first ${MAX_RUNS} runs of ${name} are listed`);
        // A project that was only synced has none.
        if (runs.length) projects.push({ project, name, runs, trouble: null });
      } catch (error) {
        projects.push({ project, name, runs: [], trouble: troubleOf(error) });
      }
    });
    projects.sort((a, b) => (a.project < b.project ? -1 : 1));
    const store = sanitizeForTerminal(`s3://${this.store.bucket}/${this.prefix}`);
    return { store, projects, listed: names.length, partial: partial.join('; ') || null };
  }

  /** @returns those that are in the store, in the order of their ids. */
  async rows(project: string, ids: readonly string[]): Promise<Row[]> {
    const rows: Row[] = [];
    await mapConcurrent(ids, CONCURRENCY, async (id) => {
      const row = await this.row(project, id);
      if (row) rows.push(row);
    });
    return rows.sort((a, b) => (a.id < b.id ? 1 : -1));
  }

  private async row(project: string, id: string): Promise<Row | null> {
    const name = `${project}\n${id}`;
    const known = this.ended.get(name);
    if (known) return known;
    let read: ReadRecord | null;
    try {
      read = await readNodeRecord(this.store, new StoreKeys(this.prefix, project), id, 0);
    } catch (error) {
      return { id, trouble: troubleOf(error) };
    }
    if (!read) return null;
    const row = rowOf(read.record, read.age);
    // An interrupted run may be resumed.
    const isFinal = !row.isActive && !wasInterrupted(read.record);
    if (isFinal && this.ended.size < MAX_REMEMBERED) this.ended.set(name, row);
    return row;
  }

  /** @throws Problem `NO_RUN`, or why its record can't be read. */
  async run(project: string, id: string, node: number): Promise<FoundRun> {
    const keys = new StoreKeys(this.prefix, project);
    const read = await readNodeRecord(this.store, keys, id, node);
    if (!read)
      throw new Problem('NO_RUN', `The store has no ${node ? `node ${node} of the ` : ''}run ${id}.`, {
        next: 'It was removed, as by "nx-ec2 store prune".',
      });
    return { store: this.store, keys, record: read.record, heard: read.age };
  }
}
