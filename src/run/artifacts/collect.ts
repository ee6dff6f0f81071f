import { closeSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { OUTPUT_DIRECTORY } from '../../config/settings/outputs';
import { Problem } from '../../report/problem';
import type { Printer } from '../../report/printer';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { formatCount, formatSize } from '../../report/units';
import type { FoldNames } from '../../workspace/name-folding';
import { makeScratch } from '../../workspace/scratch';
import { listArtifacts, type Artifacts, type ListedArtifact, type UnsavedFile } from './artifact-list';
import { assertArtifactSize } from './artifact-paths';
import { screenArtifacts } from './write/screen-artifacts';
import { findBlocking, type Blocking } from './write/blocking';
import { COLLECTED, type CollectedFiles } from './write/collected';
import { switchIn } from './write/switch-in';
import { fetchFile, forEachFile, Semaphore } from './write/download-file';
import { reportExtra } from './extra-files';
import { reportHeldBack, reportSkipped } from './held-back';
import { assertNoSymlinkInPath } from '../../workspace/no-symlinks';
import { formatPointer, pointerPath, pointerTo } from './pointer';
import type { RunRecord } from '../record/record';
import { MAX_FILES, type ArtifactList, type StoredFile } from '../record/file-lists';
import { SentFiles } from '../../project/sent-files';
import { hasContent } from './write/same-content';
import { Standing } from './write/standing';
import { StoredLog } from '../record/stored-log';
import { onFile } from '../../report/file-problem';
import type { Configuration } from '../../config/settings/types';
import type { RunContext } from '../../context/types';
import { nxRun } from '../../report/shell-words';
import type { HeldBack } from './write/artifact';

export interface Collected {
  /** Of outputs. */
  artifacts: StoredFile[];
  /** What of them stays in the store because of its name, and why. */
  heldBack: HeldBack[];
  bytes: number;
  /** Where they are, workspace-relative. */
  directory: string;
  /** Files that the run wrote outside its outputs and that are in the store. */
  extra: ListedArtifact[];
  /** Those that are not. */
  unsaved: UnsavedFile[];
  /** What of the outputs the instance could not save, and why. */
  skipped: ArtifactList['skipped'];
}

const TRAINING_LOG = `${OUTPUT_DIRECTORY}/training.log`;
/** On every file system that is in use. */
const MAX_NAME_BYTES = 255;
/** Files that are fetched at once. */
const CONCURRENT_FILES = 8;
/** Places that are named in one message. */
const MAX_NAMED = 4;

/**
 * Brings a succeeded run's outputs and its log back from the store into the project: verified here, switched in by rename
 * when all of them are there. What is over the limit, or not to be downloaded, stays in the store, and a pointer comes in
 * its place. A file that the run did not write stays.
 */
export async function collectArtifacts(
  context: RunContext,
  record: RunRecord,
  signal?: AbortSignal,
): Promise<Collected> {
  const { printer, project, configuration, workspaceRoot } = context;
  const { projectRoot } = configuration;
  assertSaved(record, project);
  const root = join(workspaceRoot, projectRoot);
  const selection = await selectArtifacts(context, record, root);
  const { list, artifacts, wanted, kept, heldBack, standing, blocking, collected } = selection;
  const scratch = makeScratch(root, OUTPUT_DIRECTORY);
  const stage = join(scratch, 'files');
  mkdirSync(stage);
  try {
    const paths = await stageArtifacts(context, record, selection, stage, signal);
    // The directory may have been replaced by a link while the files were on their way.
    assertNoSymlinkInPath(root, OUTPUT_DIRECTORY);
    const left = new Set(switchIn({ stage, root, paths, standing, blocking, collected, run: record, artifacts }));
    const changed = await findChanged(root, wanted, left);
    if (left.has(TRAINING_LOG))
      printer.warn(`${TRAINING_LOG} was not written: something else is at this path. To show the log: remote-logs`);
    heldBack.push(...changed);
    reportHeldBack(printer, project, record.id, changed, []);
    const unwritten = new Set(changed.map(({ path }) => path));
    const brought = wanted.filter(({ path }) => !unwritten.has(path));
    printer.line(
      `Artifacts: ${formatCount(brought.length, 'file')}, ${formatSize(sizeOf(brought))}, in ${describePlaces(projectRoot, brought)}` +
        (kept.length ? `; ${formatCount(kept.length, 'file')} in the store, with pointers here (remote-pull)` : ''),
    );
    const extra = list.files.filter(({ output }) => output === undefined);
    reportExtra(context, record, extra, list.unsaved);
    const directory = join(projectRoot, OUTPUT_DIRECTORY);
    const { unsaved, skipped } = list;
    return { artifacts, heldBack, bytes: sizeOf(wanted), directory, extra, unsaved, skipped };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** What of a run's outputs is brought back. */
interface Selection {
  list: Artifacts;
  /** Of outputs. */
  artifacts: ListedArtifact[];
  /** Those that are fetched. */
  wanted: ListedArtifact[];
  /** Those that stay in the store, with a pointer here. */
  kept: ListedArtifact[];
  heldBack: HeldBack[];
  /** What is in the places of artifacts and pointers now. */
  standing: Standing;
  /** What must be removed first. */
  blocking: Blocking;
  /** What an earlier collection brought. */
  collected: CollectedFiles;
  fold: FoldNames;
  isTracked: (path: string) => boolean;
}

/** Lists a run's artifacts, and decides which are fetched. Says what is held back. */
async function selectArtifacts(context: RunContext, record: RunRecord, root: string): Promise<Selection> {
  const { store, keys, printer, project, configuration } = context;
  const { train, projectRoot } = configuration;
  const { outputs } = train;
  const list = (await listArtifacts(context, record, { projectRoot, outputs })) ?? {
    files: [],
    unsaved: [],
    skipped: [],
  };
  assertNoSymlinkInPath(root, OUTPUT_DIRECTORY);
  const artifacts = list.files.filter(({ output }) => output !== undefined);
  assertArtifactSize(artifacts, train.maxArtifactSize);
  reportSkipped(printer, list.skipped);
  const standing = new Standing(root, [...artifacts.flatMap(({ path }) => [path, pointerPath(path)]), TRAINING_LOG]);
  const { accepted, heldBack, ignored, fold, tracked, collected } = await screenArtifacts(artifacts, {
    output: root,
    sent: new SentFiles(store, keys, record.snapshot),
  });
  const isTracked = (path: string) => tracked.has(fold(path));
  const stays = staysInStore(configuration);
  const wanted = accepted.filter((file) => !stays(file));
  const kept = accepted.filter(stays).filter(({ path }) => {
    const why = pointerFault(pointerPath(path), isTracked);
    if (why) heldBack.push({ path, why });
    return !why;
  });
  reportHeldBack(printer, project, record.id, heldBack, ignored);
  if (collected.isTracked) printer.warn(`${COLLECTED} is not written: git tracks it. Remove it with git rm --cached.`);
  const places = [...wanted.map(({ path }) => path), ...kept.map(({ path }) => pointerPath(path)), COLLECTED];
  const blocking = await findBlocking(root, places, collected, standing);
  return { list, artifacts, wanted, kept, heldBack, standing, blocking, collected, fold, isTracked };
}

/** Fetches the artifacts, the pointers and the log into a directory. @returns their paths. */
async function stageArtifacts(
  context: RunContext,
  record: RunRecord,
  { wanted, kept, fold, isTracked }: Selection,
  stage: string,
  signal?: AbortSignal,
): Promise<string[]> {
  const { store, keys, printer, project } = context;
  const progress = printer.progress('Fetching artifacts', sizeOf(wanted));
  let done = 0;
  const semaphore = new Semaphore();
  // None of them writes any more when the directory is removed.
  await forEachFile(wanted, CONCURRENT_FILES, signal, (file, any) =>
    fetchFile({ store, prefix: keys.run(record.id), entry: file }, join(stage, file.path), {
      signal: any,
      semaphore,
      onBytes: (more) => progress.update((done += more)),
    }),
  ).finally(() => progress.end());
  const paths = wanted.map(({ path }) => path);
  for (const file of kept) {
    const path = pointerPath(file.path);
    mkdirSync(dirname(join(stage, path)), { recursive: true });
    writeFileSync(join(stage, path), formatPointer(pointerTo(project, record.id, file)));
    paths.push(path);
  }
  if (record.log.training !== null && hasPlaceForLog(paths, fold, isTracked, printer)) {
    mkdirSync(join(stage, OUTPUT_DIRECTORY), { recursive: true });
    const log = join(stage, TRAINING_LOG);
    await onFile(log, () => writeLog(context, record, log, signal));
    paths.push(TRAINING_LOG);
  }
  return paths;
}

/** Of files that were not put in place, those whose places hold something else. */
async function findChanged(
  root: string,
  wanted: readonly ListedArtifact[],
  left: ReadonlySet<string>,
): Promise<HeldBack[]> {
  const changed: HeldBack[] = [];
  for (const file of wanted)
    if (left.has(file.path) && !(await hasContent(join(root, file.path), file)))
      changed.push({ path: file.path, why: 'what is at this path was changed while the artifacts were fetched' });
  return changed;
}

function sizeOf(files: readonly StoredFile[]): number {
  return files.reduce((sum, { size }) => sum + size, 0);
}

/** The outputs that files came to, as people look for them. */
function describePlaces(projectRoot: string, files: readonly ListedArtifact[]): string {
  const places = new Set(
    files.map(({ path, output }) => (path === output?.path ? path : `${placeOf(path, output!.path)}/`)),
  );
  if (places.size === 0) places.add(`${OUTPUT_DIRECTORY}/`);
  const named = [...places].sort().map((place) => sanitizeForTerminal(join(projectRoot, place)));
  return named.length > MAX_NAMED ? `${named.slice(0, MAX_NAMED).join(', ')}, …` : named.join(', ');
}

/** The directory that an output without wildcards is, else the one at the top that holds the file. */
function placeOf(path: string, output: string): string {
  return path.startsWith(`${output}/`) ? output : path.split('/').slice(0, -1)[0] || '.';
}

/** Why a pointer can't be written; null where it can. */
function pointerFault(path: string, isTracked: (path: string) => boolean): string | null {
  if (isTracked(path)) return 'git tracks the file at the path of its pointer';
  return Buffer.byteLength(basename(path)) > MAX_NAME_BYTES ? 'its name is too long for a pointer file' : null;
}

/** Whether the log can be written: the training's own file, or directory, of that name wins. */
function hasPlaceForLog(
  paths: readonly string[],
  fold: FoldNames,
  isTracked: (path: string) => boolean,
  printer: Printer,
): boolean {
  const own = fold(TRAINING_LOG);
  if (paths.some((path) => fold(path) === own)) return false;
  const isDirectory = paths.some((path) => fold(path).startsWith(`${own}/`));
  if (!isDirectory && !isTracked(TRAINING_LOG)) return true;
  const why = isDirectory ? 'the training created a directory of this name' : 'git tracks the file at this path';
  printer.warn(`${TRAINING_LOG} was not written: ${why}. The log is in the store. To show it: remote-logs`);
  return false;
}

/** @throws Problem where what the run left is not in the store. */
function assertSaved(record: RunRecord, project: string): void {
  const { artifacts } = record;
  if (artifacts?.state === 'saved') return;
  // A run without an output directory has left nothing.
  if (artifacts === null && record.trouble === null && record.heartbeat > 0) return;
  const error = artifacts?.error;
  throw new Problem(
    'COLLECT_FAILED',
    `The artifacts of ${record.id} could not be saved${error ? `: ${sanitizeForTerminal(error.message)} (${error.code})` : record.trouble ? `: ${sanitizeForTerminal(record.trouble)}` : ': the store has no record of its end'}`,
    {
      next:
        error?.code === 'LIMIT'
          ? limitAdvice(record, project, String(error.detail.limit))
          : `They are on ${record.instance} in ${sanitizeForTerminal(record.directory)}${artifacts?.state === 'failed' ? finalAdvice(error?.code) : `: run the same command to try again. ${nxRun(project, 'remote-doctor')} finds the cause.`}`,
    },
  );
}

/** Where the instance has said that it can't save them, it does not try again: the run counts as none that succeeded. */
function finalAdvice(code: string | undefined): string {
  const cause = code === 'UNSAFE_PATH' ? 'Have the training leave a directory of its own there, no link. ' : '';
  return ` as long as that instance exists, and are not saved any more. ${cause}The same command trains again.`;
}

/** A limit is checked when a run ends, so raising it saves nothing of this run: it is trained again. */
function limitAdvice(record: RunRecord, project: string, limit: string): string {
  const again = nxRun(project, 'remote-train');
  const fromCheckpoint = record.checkpoints.length
    ? ` To continue from its last checkpoint instead: ${again} --resumeFrom=${record.id}`
    : '';
  return `${LIMIT_ADVICE[limit] ?? LIMIT_ADVICE.bytes} The files stay on ${record.instance} in ${sanitizeForTerminal(record.directory)} as long as that instance exists, and are not saved any more. To train again from the start: ${again}.${fromCheckpoint}`;
}

/** What to do where the instance refused to save artifacts, by the limit that it names. */
const LIMIT_ADVICE: Record<string, string> = {
  bytes: 'Raise "train.maxArtifactSize", or choose fewer files with "train.outputs".',
  files: `At most ${MAX_FILES.toLocaleString('en')} files come back. Have the training pack them into an archive, or choose fewer with "train.outputs".`,
};

/** Whether an artifact is not to come back by itself. */
function staysInStore({ train }: Configuration): (file: ListedArtifact) => boolean {
  return ({ size, output }) => size > train.downloadLimit || output?.download === false;
}

/** What the training itself has printed. */
async function writeLog(
  { store, keys }: RunContext,
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
