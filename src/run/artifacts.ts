import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  rmdirSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import picomatch from 'picomatch';
import type { Configuration } from '../config/configuration';
import { GLOB } from '../config/glob';
import { Problem } from '../report/problem';
import { printable } from '../report/terminal-text';
import { formatCount, formatSize } from '../report/units';
import { trackedFiles } from '../workspace/tracked';
import { refuseUnsafeArtifacts } from './artifact-paths';
import { fetchFile, Room } from './fetch-file';
import { collectedKey } from './find-run';
import { refuseSymlinkOnTheWay } from './no-symlinks';
import { formatPointer, pointerPath, pointerTo } from './pointer';
import type { RunRecord } from './record';
import { readArtifactList, type StoredFile } from './run-files';
import type { RunsSession } from './session';
import { StoredLog } from './stored-log';

export interface Collected {
  artifacts: StoredFile[];
  bytes: number;
  /** Where they are, workspace-relative. */
  directory: string;
}

/** What an earlier collection brought, in the output directory: only this is ever removed by the next one. */
const RECORD = '.nx-ec2.json';
/** Files that are fetched at once. */
const FILES = 8;

/**
 * A glob as the regular expression that the remote side matches whole project-relative paths with; `.` is any character.
 * Its end is written so that Python reads the same: there `$` is also before a line break at the end.
 */
export function globPattern(glob: string): string {
  const { source } = picomatch.makeRe(glob, GLOB);
  return source.replace(/\\[^]|\[(?:\\[^]|[^\]\\])*\]|\$/g, (token) => (token === '$' ? '(?![\\s\\S])' : token));
}

/**
 * Brings a succeeded run's artifacts and log back from the store into the output directory: verified here, switched in
 * by rename when all of them are there. What is over the limit, or not to be fetched, stays in the store, and a pointer
 * comes in its place.
 */
export async function collectArtifacts(
  session: RunsSession,
  record: RunRecord,
  signal?: AbortSignal,
): Promise<Collected> {
  const { store, keys, reporter, project, configuration, workspaceRoot } = session;
  const { train, projectRoot } = configuration;
  refuseUnsaved(record, project);
  const list = (await readArtifactList(store, keys, record)) ?? { files: [], skipped: [] };
  const root = join(workspaceRoot, projectRoot);
  const output = join(root, train.outputDir);
  refuseSymlinkOnTheWay(root, train.outputDir);
  const tracked = relativeTo(trackedFiles(workspaceRoot, output), projectRoot);
  refuseUnsafeArtifacts(list.files, train.outputDir, tracked, train.maxArtifactSize);
  for (const { path, why } of list.skipped) reporter.warn(`left on the instance: ${printable(path)} (${why})`);

  const stays = staysInStore(configuration);
  const kept = list.files.filter(stays);
  const wanted = list.files.filter((file) => !stays(file));
  const inside = (path: string) => path.slice(train.outputDir.length + 1);
  const bytes = wanted.reduce((sum, { size }) => sum + size, 0);
  const stage = `${output}.nx-ec2-${randomBytes(4).toString('hex')}`;
  mkdirSync(stage, { recursive: true });
  try {
    const progress = reporter.progress('Fetching artifacts', bytes);
    let done = 0;
    const room = new Room();
    const queue = [...wanted];
    await Promise.all(
      Array.from({ length: FILES }, async () => {
        for (let file = queue.shift(); file; file = queue.shift()) {
          await fetchFile(store, keys.run(record.id), file, join(stage, inside(file.path)), {
            ...{ signal, room },
            onBytes: (more) => progress.update((done += more)),
          });
        }
      }),
    );
    progress.end();
    const paths = wanted.map(({ path }) => inside(path));
    for (const file of kept) {
      const path = pointerPath(inside(file.path));
      mkdirSync(dirname(join(stage, path)), { recursive: true });
      writeFileSync(join(stage, path), formatPointer(pointerTo(project, record.id, file)));
      paths.push(path);
    }
    // The training's own file of that name wins.
    if (record.log.training !== null && !paths.includes('training.log')) {
      await writeLog(session, record, join(stage, 'training.log'), signal);
      paths.push('training.log');
    }
    switchIn(stage, output, paths, record, list.files, (path) => tracked?.has(`${train.outputDir}/${path}`) ?? false);
    const directory = join(projectRoot, train.outputDir);
    reporter.line(
      `Artifacts: ${formatCount(wanted.length, 'file')}, ${formatSize(bytes)}, in ${directory}/` +
        (kept.length ? `; ${formatCount(kept.length, 'file')} in the store, with pointers here (remote-pull)` : ''),
    );
    await store
      .put(collectedKey(keys, record.id), Buffer.from('{"v":1}'), { contentType: 'application/json' })
      .catch((error: Error) => reporter.warn(`after collecting: ${error.message}`));
    return { artifacts: list.files, bytes, directory };
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

/** @throws Problem where what the run left is not in the store. */
function refuseUnsaved(record: RunRecord, project: string): void {
  const { artifacts } = record;
  if (artifacts?.state === 'saved') return;
  // A run without an output directory has left nothing.
  if (artifacts === null && record.trouble === null && record.beat > 0) return;
  const error = artifacts?.error;
  throw new Problem(
    'COLLECT_FAILED',
    `The artifacts of ${record.id} could not be saved${error ? `: ${printable(error.message)} (${error.code})` : record.trouble ? `: ${printable(record.trouble)}` : ': the store was not told of its end'}`,
    {
      next:
        error?.code === 'LIMIT'
          ? 'Raise "train.maxArtifactSize", or choose with "train.artifacts".'
          : `They are on ${record.instance} in ${printable(record.directory)}: the same command tries again. nx run ${project}:remote-doctor tells what is in the way.`,
    },
  );
}

/** Whether an artifact is not to come back by itself. The first glob that matches it decides. */
function staysInStore({ train }: Configuration): (file: StoredFile) => boolean {
  const globs = train.artifacts.map(({ path, fetch }) => ({ matches: picomatch(path, GLOB), fetch }));
  return ({ path, size }) => size > train.fetchLimit || globs.find(({ matches }) => matches(path))?.fetch === false;
}

/** What the training itself has printed. */
async function writeLog(
  { store, keys }: RunsSession,
  record: RunRecord,
  target: string,
  signal?: AbortSignal,
): Promise<void> {
  const log = new StoredLog(store, keys, record.id);
  const file = openSync(target, 'w', 0o644);
  try {
    for (let at = record.log.training!; at < record.log.size;) {
      const piece = await log.read(at, signal);
      if (!piece.length) throw new Problem('LOG_MISSING', `The log of ${record.id} is not in the store from ${at} on.`);
      writeSync(file, piece.subarray(0, record.log.size - at));
      at += piece.length;
    }
  } finally {
    closeSync(file);
  }
}

/** Puts the staged files in place: what the last collection brought goes, the record changes, each file is renamed in. */
function switchIn(
  stage: string,
  output: string,
  paths: string[],
  run: RunRecord,
  artifacts: StoredFile[],
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
    `${JSON.stringify({ run: run.id, snapshot: run.snapshot, exitCode: run.exitCode, startedAt: run.startedAt, endedAt: run.endedAt, files: [...paths].sort(), artifacts: artifacts.map(({ path, size, sha256 }) => ({ path, size, sha256 })) }, null, 2)}\n`,
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
