import { createHash, hash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { OUTPUT_DIRECTORY } from '../../config/settings/outputs';
import type { Printer } from '../../report/printer';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { formatCount, formatSize } from '../../report/units';
import type { FoldNames } from '../../workspace/name-folding';
import { makeScratch } from '../../workspace/scratch';
import {
  listArtifacts,
  type Artifacts,
  type ListedArtifact,
  type SkippedFile,
  type UnsavedFile,
} from './artifact-list';
import { assertArtifactSize } from './artifact-paths';
import { screenArtifacts } from './write/screen-artifacts';
import { findBlocking, type Blocking } from './write/blocking';
import { COLLECTED, type CollectedFiles } from './write/collected';
import { switchIn } from './write/switch-in';
import { Semaphore } from '../../system/semaphore';
import { fetchFile, forEachFile, CONCURRENT_PARTS } from './write/download-file';
import { assertSaved } from './assert-saved';
import { reportExtra } from './extra-files';
import { reportHeldBack, reportNodes, reportSkipped } from './held-back';
import { assertNoSymlinkInPath } from '../../workspace/no-symlinks';
import { formatPointer, pointerPath, pointerTo } from './pointer';
import { prefixOfRecord, type RunRecord } from '../record/record';
import type { StoredFile } from '../record/file-lists';
import { SentFiles } from '../../project/sent-files';
import { hasContent } from './write/same-content';
import { Standing } from './write/standing';
import { StoredLog } from '../record/stored-log';
import { onFile } from '../../report/file-problem';
import type { Configuration } from '../../config/settings/types';
import type { RunContext } from '../../context/types';
import type { HeldBack } from './write/artifact';
import type { Delivered, Placed } from './nx-outputs';
import { readOtherNodes } from '../record/node-records';

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
  skipped: SkippedFile[];
  /** What is in the outputs now, for `assertOutputsOfRun`. */
  delivered: Delivered;
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
  for (const node of [record, ...(await readOtherNodes(context, record))]) assertSaved(node, project);
  const root = join(workspaceRoot, projectRoot);
  const selection = await selectArtifacts(context, record, root);
  const { list, artifacts, wanted, kept, heldBack, standing, blocking, collected } = selection;
  const scratch = makeScratch(root, OUTPUT_DIRECTORY);
  const stage = join(scratch, 'files');
  mkdirSync(stage);
  try {
    const staged = await stageArtifacts(context, record, selection, stage, signal);
    const paths = staged.map(({ path }) => path);
    // The directory may have been replaced by a link while the files were on their way.
    assertNoSymlinkInPath(root, OUTPUT_DIRECTORY);
    const left = new Set(switchIn({ stage, root, paths, standing, blocking, collected, run: record, artifacts }));
    const changedPlaces = await findChanged(root, staged, left);
    const isWanted = new Set(wanted.map(({ path }) => path));
    const changed = changedPlaces.filter(({ path }) => isWanted.has(path));
    if (left.has(TRAINING_LOG))
      printer.warn(`${TRAINING_LOG} was not written: something else is at this path. To show the log: remote-logs`);
    const delivered = describeDelivered(root, selection, staged, changedPlaces);
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
    return { artifacts, heldBack, bytes: sizeOf(wanted), directory, extra, unsaved, skipped, delivered };
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
  /** Paths of those that are held back for what is here now, not for their names. */
  changed: ReadonlySet<string>;
  /** Those that are here already, and that git tracks. */
  unchanged: ListedArtifact[];
  sent: SentFiles;
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
    hidden: [],
    missing: [],
    unsaved: [],
    skipped: [],
  };
  assertNoSymlinkInPath(root, OUTPUT_DIRECTORY);
  const artifacts = list.files.filter(({ output }) => output !== undefined);
  assertArtifactSize(artifacts, train.maxArtifactSize);
  reportSkipped(printer, list.skipped);
  reportNodes(printer, project, record.id, list);
  const standing = new Standing(root, [...artifacts.flatMap(({ path }) => [path, pointerPath(path)]), TRAINING_LOG]);
  const sent = new SentFiles(store, keys, record.snapshot);
  const screened = await screenArtifacts(artifacts, { output: root, sent });
  const { accepted, unchanged, heldBack, changed, ignored, fold, tracked, collected } = screened;
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
  const held = { heldBack, changed, unchanged };
  return { ...held, list, artifacts, wanted, kept, sent, standing, blocking, collected, fold, isTracked };
}

/** Fetches the artifacts, the pointers and the log into a directory. @returns what is to be put in place. */
async function stageArtifacts(
  context: RunContext,
  record: RunRecord,
  { wanted, kept, fold, isTracked }: Selection,
  stage: string,
  signal?: AbortSignal,
): Promise<Placed[]> {
  const { store, keys, printer, project } = context;
  const progress = printer.progress('Fetching artifacts', sizeOf(wanted));
  let done = 0;
  const semaphore = new Semaphore(CONCURRENT_PARTS);
  // None of them writes any more when the directory is removed.
  await forEachFile(wanted, CONCURRENT_FILES, signal, (file, any) =>
    fetchFile({ store, prefix: prefixOfRecord(keys, record), entry: file }, join(stage, file.path), {
      signal: any,
      semaphore,
      onBytes: (more) => progress.update((done += more)),
    }),
  ).finally(() => progress.end());
  const staged: Placed[] = wanted.map(({ path, size, sha256 }) => ({ path, size, sha256 }));
  for (const file of kept) {
    const path = pointerPath(file.path);
    const pointer = Buffer.from(formatPointer(pointerTo(project, record.id, file)));
    mkdirSync(dirname(join(stage, path)), { recursive: true });
    writeFileSync(join(stage, path), pointer);
    staged.push({ path, size: pointer.length, sha256: hash('sha256', pointer) });
  }
  const paths = staged.map(({ path }) => path);
  if (record.log.training !== null && hasPlaceForLog(paths, fold, isTracked, printer)) {
    mkdirSync(join(stage, OUTPUT_DIRECTORY), { recursive: true });
    const log = join(stage, TRAINING_LOG);
    const content = await onFile(log, () => writeLog(context, record, log, signal));
    staged.push({ path: TRAINING_LOG, ...content });
  }
  return staged;
}

/** Of files that were not put in place, those whose places hold something else. */
async function findChanged(root: string, staged: readonly Placed[], left: ReadonlySet<string>): Promise<HeldBack[]> {
  const changed: HeldBack[] = [];
  for (const file of staged)
    if (left.has(file.path) && !(await hasContent(join(root, file.path), file)))
      changed.push({ path: file.path, why: 'what is at this path was changed while the artifacts were fetched' });
  return changed;
}

/** What is in the outputs after a collection: what it brought, and what it could not write. */
function describeDelivered(
  root: string,
  { artifacts, unchanged, heldBack, changed, standing, sent, fold }: Selection,
  staged: readonly Placed[],
  changedPlaces: readonly HeldBack[],
): Delivered {
  const notWritten = [...heldBack.filter(({ path }) => changed.has(path)), ...changedPlaces];
  const isNotWritten = new Set(notWritten.map(({ path }) => path));
  const files = [...staged, ...unchanged].filter(({ path }) => !isNotWritten.has(path));
  const isThere = new Set(files.map(({ path }) => path));
  const absent = artifacts.filter(({ path }) => !isThere.has(path) && !isNotWritten.has(path));
  return { root, files, notWritten, absent, standing, sent, fold };
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
): Promise<Omit<Placed, 'path'>> {
  const log = new StoredLog(store, keys, record);
  const file = openSync(target, 'w', 0o644);
  const digest = createHash('sha256');
  let size = 0;
  try {
    for await (const piece of log.verified(record, record.log.training!, signal)) {
      writeSync(file, piece);
      digest.update(piece);
      size += piece.length;
    }
    return { size, sha256: digest.digest('hex') };
  } finally {
    closeSync(file);
  }
}
