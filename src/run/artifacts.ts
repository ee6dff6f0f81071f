import { createHash, randomBytes } from 'node:crypto';
import {
  createWriteStream,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import picomatch from 'picomatch';
import type { CollectState, PollReply, RunState } from '../command/plan';
import { pause } from '../command/run-command';
import { GLOB } from '../config/glob';
import { Problem } from '../report/problem';
import { printable } from '../report/terminal-text';
import { formatCount, formatSize } from '../report/units';
import { trackedFiles } from '../workspace/tracked';
import { refuseUnsafeArtifacts, type Artifact } from './artifact-paths';
import { refuseSymlinkOnTheWay } from './no-symlinks';
import type { Session } from './session';

interface LogFile {
  size: number;
  sha256: string;
}

interface ArtifactList {
  v: 1;
  artifacts: Artifact[];
  logs: { setup: LogFile | null; training: LogFile | null };
  skipped: { path: string; why: string }[];
}

export interface Collected {
  artifacts: Artifact[];
  bytes: number;
  /** Where they are, workspace-relative. */
  directory: string;
}

/** What an earlier collection brought, in the output directory: only this is ever removed by the next one. */
const RECORD = '.nx-ec2.json';
const MAX_FILES = 100_000;
const DOWNLOADS = 8;
/** How often a collection begins anew. */
const TRIES = 4;

/** A glob as the regular expression that the remote side matches whole project-relative paths with; `.` is any character. */
export function globPattern(glob: string): string {
  return picomatch.makeRe(glob, GLOB).source;
}

/**
 * Brings a succeeded run's artifacts and log back into the output directory: uploaded by the instance, verified here,
 * switched in by rename when all of them are there. Whoever else waited for the same run collects it at the same time,
 * and who is done first removes what is in the store: the instance is asked for it again.
 */
export async function collectArtifacts(session: Session, run: RunState, signal?: AbortSignal): Promise<Collected> {
  for (let tries = 1; ; tries++) {
    try {
      return await collectOnce(session, run, signal);
    } catch (error) {
      if (signal?.aborted || tries === TRIES || !isRemoved(error)) throw error;
      // Not in step with the others.
      await pause(Math.random() * 1_000 * tries, signal);
    }
  }
}

/** What a collection meets where another one has removed what is in the store. */
function isRemoved(error: unknown): boolean {
  return (
    error instanceof Problem &&
    (/^(LIST|ARTIFACT)_MISMATCH$/.test(error.code) || /^(NoSuchKey|AccessDenied)$/.test(error.aws?.code ?? ''))
  );
}

async function collectOnce(session: Session, run: RunState, signal?: AbortSignal): Promise<Collected> {
  const { train } = session.configuration;
  const prefix = session.keys.out(run.id);
  const stored = await uploadFromInstance(session, run, prefix, signal);
  const keys = [stored.list!.key];
  const list = await readList(session, stored);
  const logs = [list.logs.setup, list.logs.training].flatMap((log) => (log ? [log] : []));
  keys.push(...new Set([...list.artifacts, ...logs].map(({ sha256 }) => `${prefix}${sha256}`)));

  const projectRoot = join(session.workspaceRoot, session.configuration.projectRoot);
  const output = join(projectRoot, train.outputDir);
  refuseSymlinkOnTheWay(projectRoot, train.outputDir);
  const tracked = relativeTo(trackedFiles(session.workspaceRoot, output), session.configuration.projectRoot);
  refuseUnsafeArtifacts(list.artifacts, train.outputDir, tracked, train.maxArtifactSize);
  for (const { path, why } of list.skipped) session.reporter.warn(`left on the instance: ${printable(path)} (${why})`);

  const stage = `${output}.nx-ec2-${randomBytes(4).toString('hex')}`;
  mkdirSync(stage, { recursive: true });
  try {
    const bytes = list.artifacts.reduce((sum, { size }) => sum + size, 0);
    const progress = session.reporter.progress('Fetching artifacts', bytes);
    let done = 0;
    const wanted = new Map<string, { sha256: string; size: number; executable: boolean }>();
    for (const artifact of list.artifacts) wanted.set(artifact.path.slice(train.outputDir.length + 1), artifact);
    // The training's own file of that name wins.
    if (list.logs.training && !wanted.has('training.log'))
      wanted.set('training.log', { ...list.logs.training, executable: false });
    const queue = [...wanted];
    await Promise.all(
      Array.from({ length: DOWNLOADS }, async () => {
        for (let next = queue.shift(); next; next = queue.shift()) {
          const [path, file] = next;
          await fetchVerified(session, `${prefix}${file.sha256}`, file, join(stage, path), signal, (more) =>
            progress.update((done += more)),
          );
        }
      }),
    );
    progress.end();
    switchIn(
      stage,
      output,
      [...wanted.keys()],
      run,
      list.artifacts,
      (path) => tracked?.has(`${train.outputDir}/${path}`) ?? false,
    );
    const directory = join(session.configuration.projectRoot, train.outputDir);
    session.reporter.line(
      `Artifacts: ${formatCount(list.artifacts.length, 'file')}, ${formatSize(bytes)}, in ${directory}/`,
    );
    await finish(session, run, keys);
    return { artifacts: list.artifacts, bytes, directory };
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

/** Marks the run as collected and removes what was in the store for it; both may fail without harm. */
async function finish(session: Session, run: RunState, keys: string[]): Promise<void> {
  const results = await Promise.allSettled([
    session.remote.send({ op: 'collected', run: run.id }, { comment: `nx-ec2: collected ${run.id}` }),
    session.store.delete(keys),
  ]);
  for (const result of results) {
    if (result.status === 'rejected') session.reporter.warn(`after collecting: ${(result.reason as Error).message}`);
  }
}

async function uploadFromInstance(
  session: Session,
  run: RunState,
  prefix: string,
  signal?: AbortSignal,
): Promise<CollectState> {
  const { train } = session.configuration;
  const collect = async () =>
    session.remote.send<{ collect: CollectState }>(
      {
        op: 'collect',
        run: run.id,
        patterns: train.artifacts.map(({ path }) => globPattern(path)),
        limits: { files: MAX_FILES, bytes: train.maxArtifactSize },
        post: await session.store.presignPost(prefix),
        prefix,
      },
      { comment: `nx-ec2: collect ${run.id}`, signal, stillThere: session.stillThere },
    );
  let { collect: state } = await collect();
  const progress = session.reporter.progress('Artifacts to S3', Math.max(1, state.bytes));
  for (let wait = 300; state.state === 'uploading'; wait = Math.min(5_000, wait * 1.5)) {
    await pause(wait, signal);
    const reply = await session.remote.send<PollReply>(
      {
        op: 'poll',
        run: run.id,
        project: session.project,
        tree: session.tree,
        cursor: { log: 'training', offset: Number.MAX_SAFE_INTEGER },
        overflow: null,
      },
      { comment: `nx-ec2: collect ${run.id}`, signal, stillThere: session.stillThere },
    );
    // An uploader that was killed is started again.
    state = reply.collect ?? (await collect()).collect;
    progress.update(state.uploaded);
  }
  progress.end();
  if (state.state === 'failed' || !state.list) throw collectProblem(run, state);
  return state;
}

function collectProblem(run: RunState, state: CollectState): Problem {
  const error = state.error ?? { code: 'INTERNAL', message: 'no reason was given', detail: {} };
  const largest = Array.isArray(error.detail.largest)
    ? (error.detail.largest as { path: string; size: number }[])
        .map(({ path, size }) => `  ${formatSize(size)}  ${printable(path)}`)
        .join('\n')
    : '';
  return new Problem(
    'COLLECT_FAILED',
    `The artifacts of ${run.id} could not be brought back: ${printable(error.message)} (${error.code})`,
    {
      next:
        error.code === 'LIMIT'
          ? `Raise "train.maxArtifactSize", or choose with "train.artifacts".${largest ? ` The largest:\n${largest}` : ''}`
          : 'The run and its files are kept on the instance: the same command collects them again.',
    },
  );
}

async function readList(session: Session, state: CollectState): Promise<ArtifactList> {
  const bytes = await session.store.get(state.list!.key);
  if (!bytes || createHash('sha256').update(bytes).digest('hex') !== state.list!.sha256) {
    throw new Problem('LIST_MISMATCH', `The list of artifacts (${state.list!.key}) is not what the instance stored.`, {
      next: 'Somebody else writes to the store, or the object was removed: run the same command again.',
    });
  }
  return JSON.parse(bytes.toString('utf8')) as ArtifactList;
}

async function fetchVerified(
  session: Session,
  key: string,
  file: { sha256: string; size: number; executable: boolean },
  target: string,
  signal: AbortSignal | undefined,
  onBytes: (count: number) => void,
): Promise<void> {
  mkdirSync(dirname(target), { recursive: true });
  for (let tries = 1; ; tries++) {
    let taken = 0;
    try {
      const hash = createHash('sha256');
      const verify = new Transform({
        transform(part: Buffer, _encoding, done) {
          hash.update(part);
          taken += part.length;
          onBytes(part.length);
          done(taken > file.size ? new Error('larger than listed') : null, part);
        },
      });
      await pipeline(
        await session.store.getStream(key),
        verify,
        createWriteStream(target, { flags: 'w', mode: file.executable ? 0o755 : 0o644 }),
        { signal },
      );
      if (taken !== file.size || hash.digest('hex') !== file.sha256)
        throw new Error('its SHA-256 is not the listed one');
      return;
    } catch (error) {
      onBytes(-taken);
      if (signal?.aborted || tries === 3) {
        throw error instanceof Problem
          ? error
          : new Problem('ARTIFACT_MISMATCH', `${key} could not be fetched whole: ${(error as Error).message}.`, {
              cause: error,
            });
      }
      await pause(500 * tries, signal);
    }
  }
}

/** Puts the staged files in place: what the last collection brought goes, the record changes, each file is renamed in. */
function switchIn(
  stage: string,
  output: string,
  paths: string[],
  run: RunState,
  artifacts: Artifact[],
  kept: (path: string) => boolean,
): void {
  mkdirSync(output, { recursive: true });
  for (const path of paths) {
    refuseSymlinkOnTheWay(output, dirname(path));
    if (lstatSync(join(output, path), { throwIfNoEntry: false })?.isDirectory() && !brought(output, path)) {
      throw new Problem(
        'ARTIFACT_BLOCKED',
        `The artifact ${printable(path)} can't be written: a directory of that name is in ${output}.`,
        {
          next: 'Move it away and run the same command again.',
        },
      );
    }
  }
  for (const old of recorded(output)) {
    if (kept(old)) continue;
    refuseSymlinkOnTheWay(output, dirname(old));
    rmSync(join(output, old), { force: true });
    removeEmptyParents(output, dirname(old));
  }
  const record = join(stage, RECORD);
  writeFileSync(
    record,
    `${JSON.stringify({ run: run.id, snapshot: run.snapshot, exitCode: run.exitCode, startedAt: run.startedAt, endedAt: run.endedAt, files: [...paths].sort(), artifacts }, null, 2)}\n`,
  );
  // Before the files: a kill in between leaves nothing that the next collection would not know as ours.
  renameSync(record, join(output, RECORD));
  for (const path of paths) {
    mkdirSync(dirname(join(output, path)), { recursive: true });
    renameSync(join(stage, path), join(output, path));
  }
}

/** Whether a directory holds nothing but what the last collection brought. */
function brought(output: string, directory: string): boolean {
  const ours = new Set(recorded(output));
  const only = (path: string): boolean =>
    readdirSync(join(output, path), { withFileTypes: true }).every((each) =>
      each.isDirectory() ? only(`${path}/${each.name}`) : ours.has(`${path}/${each.name}`),
    );
  return only(directory);
}

function recorded(output: string): string[] {
  try {
    const value = JSON.parse(readFileSync(join(output, RECORD), 'utf8')) as { files?: unknown };
    if (!Array.isArray(value.files)) return [];
    return value.files.filter(
      (path): path is string =>
        typeof path === 'string' && !path.split('/').some((part) => part === '' || part === '.' || part === '..'),
    );
  } catch {
    return [];
  }
}

function removeEmptyParents(output: string, directory: string): void {
  for (let each = directory; each !== '.' && each !== ''; each = dirname(each)) {
    const path = join(output, each);
    if (!existsSync(path) || readdirSync(path).length > 0) return;
    rmdirSync(path);
  }
}

function relativeTo(paths: Set<string> | null, root: string): Set<string> | null {
  if (!paths || root === '.' || root === '') return paths;
  return new Set([...paths].filter((path) => path.startsWith(`${root}/`)).map((path) => path.slice(root.length + 1)));
}
