import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  rmdirSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Configuration } from '../config/configuration';
import { artifactMatcher } from '../config/glob';
import { Problem } from '../report/problem';
import type { Reporter } from '../report/reporter';
import { printable } from '../report/terminal-text';
import { formatCount, formatSize } from '../report/units';
import type { FoldNames } from '../workspace/name-folding';
import { lookUp } from '../workspace/look-up';
import { makeScratch } from '../workspace/scratch';
import { assertArtifactList, assertArtifactSize, screenArtifacts, type HeldBack } from './artifact-paths';
import { COLLECTED, readCollected } from './collected';
import { fetchFile, Room } from './fetch-file';
import { collectedKey } from './find-run';
import { reportHeldBack } from './held-back';
import { refuseSymlinkOnTheWay } from './no-symlinks';
import { formatPointer, pointerPath, pointerTo } from './pointer';
import type { RunRecord } from './record';
import { MAX_FILES, readArtifactList, type StoredFile } from './run-files';
import type { RunsSession } from './session';
import { StoredLog } from './stored-log';

export interface Collected {
  artifacts: StoredFile[];
  /** What of them stays in the store because of its name, and why. */
  heldBack: HeldBack[];
  bytes: number;
  /** Where they are, workspace-relative. */
  directory: string;
}

const TRAINING_LOG = 'training.log';
/** bytes, on every file system that is in use */
const LONGEST_NAME = 255;
/** Files that are fetched at once. */
const FILES = 8;

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
  assertArtifactList(list.files, train.outputDir);
  assertArtifactSize(list.files, train.maxArtifactSize);
  for (const { path, why } of list.skipped) reporter.warn(`left on the instance: ${printable(path)} (${why})`);
  const { accepted, heldBack, ignored, fold, tracked } = await screenArtifacts(list.files, {
    output,
    outputDir: train.outputDir,
  });
  const inside = (path: string) => path.slice(train.outputDir.length + 1);
  const isTracked = (path: string) => tracked.has(fold(path));
  const stays = staysInStore(configuration);
  const wanted = accepted.filter((file) => !stays(file));
  const kept = accepted.filter(stays).filter(({ path }) => {
    const why = pointerFault(pointerPath(inside(path)), isTracked);
    if (why) heldBack.push({ path, why });
    return !why;
  });
  reportHeldBack(reporter, project, record.id, heldBack, ignored);

  const bytes = wanted.reduce((sum, { size }) => sum + size, 0);
  const stage = makeScratch(dirname(output), basename(output));
  const files = join(stage, 'files');
  mkdirSync(files);
  try {
    const progress = reporter.progress('Fetching artifacts', bytes);
    let done = 0;
    const room = new Room();
    const queue = [...wanted];
    await Promise.all(
      Array.from({ length: FILES }, async () => {
        for (let file = queue.shift(); file; file = queue.shift()) {
          await fetchFile(store, keys.run(record.id), file, join(files, inside(file.path)), {
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
      mkdirSync(dirname(join(files, path)), { recursive: true });
      writeFileSync(join(files, path), formatPointer(pointerTo(project, record.id, file)));
      paths.push(path);
    }
    if (record.log.training !== null && hasPlaceForLog(paths, fold, isTracked, reporter)) {
      await writeLog(session, record, join(files, TRAINING_LOG), signal);
      paths.push(TRAINING_LOG);
    }
    // The directory may have been replaced by a link while the files were on their way.
    refuseSymlinkOnTheWay(root, train.outputDir);
    switchIn(files, output, train.outputDir, paths, record, list.files, isTracked);
    const directory = join(projectRoot, train.outputDir);
    reporter.line(
      `Artifacts: ${formatCount(wanted.length, 'file')}, ${formatSize(bytes)}, in ${directory}/` +
        (kept.length ? `; ${formatCount(kept.length, 'file')} in the store, with pointers here (remote-pull)` : ''),
    );
    return { artifacts: list.files, heldBack, bytes, directory };
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

/** Why a pointer can't be written; null where it can. */
function pointerFault(path: string, isTracked: (path: string) => boolean): string | null {
  if (isTracked(path)) return 'git tracks the file that is in the place of its pointer';
  return Buffer.byteLength(basename(path)) > LONGEST_NAME ? 'its name is too long for a pointer file' : null;
}

/** Whether the log can be written: the training's own file, or directory, of that name wins. */
function hasPlaceForLog(
  paths: readonly string[],
  fold: FoldNames,
  isTracked: (path: string) => boolean,
  reporter: Reporter,
): boolean {
  const own = fold(TRAINING_LOG);
  if (paths.some((path) => fold(path) === own)) return false;
  const isDirectory = paths.some((path) => fold(path).startsWith(`${own}/`));
  if (!isDirectory && !isTracked(TRAINING_LOG)) return true;
  const why = isDirectory ? 'the training made a directory of that name' : 'git tracks the file that is here';
  reporter.warn(`${TRAINING_LOG} was not written: ${why}. The log is in the store: remote-logs shows it.`);
  return false;
}

/** Notes that the result of a run was delivered: the same training started again is another run. */
export async function markCollected(
  { store, keys, reporter }: Pick<RunsSession, 'store' | 'keys' | 'reporter'>,
  run: string,
): Promise<void> {
  await store
    .put(collectedKey(keys, run), Buffer.from('{"v":1}'), { contentType: 'application/json' })
    .catch((error: Error) => reporter.warn(`after collecting: ${error.message}`));
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
          ? (LIMIT_ADVICE[String(error.detail.limit)] ?? LIMIT_ADVICE.bytes)
          : `They are on ${record.instance} in ${printable(record.directory)}: the same command tries again. nx run ${project}:remote-doctor tells what is in the way.`,
    },
  );
}

/** What to do where the instance refused to save artifacts, by the limit that it names. */
const LIMIT_ADVICE: Record<string, string> = {
  bytes: 'Raise "train.maxArtifactSize", or choose fewer with "train.artifacts".',
  files: `At most ${MAX_FILES.toLocaleString('en')} files come back. Have the training pack them into an archive, or choose fewer with "train.artifacts".`,
  depth: 'Have the training nest its directories less deeply, or pack them into an archive.',
};

/** Whether an artifact is not to come back by itself. The first glob that matches it decides. */
function staysInStore({ train }: Configuration): (file: StoredFile) => boolean {
  const globs = train.artifacts.map(({ path, fetch }) => ({ matches: artifactMatcher(train.outputDir, path), fetch }));
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
    for await (const piece of log.verified(record, record.log.training!, signal)) writeSync(file, piece);
  } finally {
    closeSync(file);
  }
}

/** Puts the staged files in place: what the last collection brought goes, the record changes, each file is renamed in. */
function switchIn(
  stage: string,
  output: string,
  outputDir: string,
  paths: string[],
  run: RunRecord,
  artifacts: StoredFile[],
  kept: (path: string) => boolean,
): void {
  mkdirSync(output, { recursive: true });
  const earlier = new Set(readCollected(output, outputDir).paths);
  for (const path of [...paths, COLLECTED]) {
    refuseSymlinkOnTheWay(output, dirname(path));
    refuseFileOnTheWay(output, earlier, path);
    if (lookUp(join(output, path))?.isDirectory() && !brought(output, earlier, path)) {
      throw new Problem(
        'ARTIFACT_BLOCKED',
        `The artifact ${printable(path)} can't be written: a directory of that name is in ${output}.`,
        {
          next: 'Move it away and run the same command again.',
        },
      );
    }
  }
  for (const old of earlier) {
    if (kept(old)) continue;
    refuseSymlinkOnTheWay(output, dirname(old));
    rmSync(join(output, old), { force: true });
    removeEmptyParents(output, dirname(old));
  }
  const record = join(stage, COLLECTED);
  writeFileSync(
    record,
    `${JSON.stringify({ run: run.id, snapshot: run.snapshot, exitCode: run.exitCode, startedAt: run.startedAt, endedAt: run.endedAt, files: [...paths].sort(), artifacts: artifacts.map(({ path, size, sha256 }) => ({ path, size, sha256 })) }, null, 2)}\n`,
  );
  // Before the files: a kill in between leaves nothing that the next collection would not know as ours.
  renameSync(record, join(output, COLLECTED));
  for (const path of paths) {
    mkdirSync(dirname(join(output, path)), { recursive: true });
    renameSync(join(stage, path), join(output, path));
  }
}

/** Refuses an artifact for whose directory a file would have to go that the last collection did not bring. */
function refuseFileOnTheWay(output: string, ours: ReadonlySet<string>, path: string): void {
  for (let directory = dirname(path); directory !== '.'; directory = dirname(directory)) {
    const stat = lookUp(join(output, directory));
    if (stat === null || stat.isDirectory() || ours.has(directory)) continue;
    throw new Problem(
      'ARTIFACT_BLOCKED',
      `The artifact ${printable(path)} can't be written: the file ${printable(directory)} is in ${output}.`,
      { next: 'Move it away and run the same command again.' },
    );
  }
}

/** Whether a directory holds nothing but what the last collection brought. */
function brought(output: string, ours: ReadonlySet<string>, directory: string): boolean {
  const only = (path: string): boolean =>
    readdirSync(join(output, path), { withFileTypes: true }).every((each) =>
      each.isDirectory() ? only(`${path}/${each.name}`) : ours.has(`${path}/${each.name}`),
    );
  return only(directory);
}

function removeEmptyParents(output: string, directory: string): void {
  for (let each = directory; each !== '.' && each !== ''; each = dirname(each)) {
    const path = join(output, each);
    if (!existsSync(path) || readdirSync(path).length > 0) return;
    rmdirSync(path);
  }
}
