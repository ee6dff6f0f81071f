import { closeSync, constants, fchmodSync, fstatSync, openSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Problem } from '../../report/problem';
import type { Printer } from '../../report/printer';
import { printablePath } from '../../report/terminal-text';
import { formatCount, formatSize } from '../../report/units';
import type { StoreKeys } from '../../store/keys';
import type { Store } from '../../store/store';
import { Semaphore } from '../../system/semaphore';
import { lookUp } from '../../workspace/look-up';
import { makeDirectory } from '../../workspace/make-directory';
import type { FoldNames } from '../../workspace/name-folding';
import { readRegularFile } from '../../workspace/read-regular-file';
import { assertArtifactList, assertArtifactSize } from './artifact-paths';
import { screenArtifacts } from './write/screen-artifacts';
import type { CollectedFiles } from './write/collected';
import { fetchFile, forEachFile, recoverUnfinished, CONCURRENT_PARTS, unfinished } from './write/download-file';
import { reportHeldBack } from './held-back';
import { assertNoSymlinkInPath } from '../../workspace/no-symlinks';
import { parsePointer, pointerPath } from './pointer';
import { assertNotHome } from './pull-target';
import { selectFiles, type PullSelection } from './pull-selection';
import { prefixOfRecord, type RunRecord } from '../record/record';
import { hasContent } from './write/same-content';
import { SentFiles } from '../../project/sent-files';
import { Standing } from './write/standing';
import type { StoredFile } from '../record/file-lists';
import type { Artifact, HeldBack, Screened } from './write/artifact';

/** Files that are checked or downloaded at once; their parts share one semaphore. */
const CONCURRENT_FILES = 8;

export interface Pulled {
  /** Files that were fetched, and those that were there already. */
  fetched: number;
  there: number;
  /** What stays in the store because of its name, and why. */
  heldBack: HeldBack[];
  /** bytes that came over the wire: what an earlier pull has left is not among them. */
  bytes: number;
}

/**
 * Brings artifacts and checkpoints of a run from the store, whether it is active or has ended. Nothing is written before
 * all paths are known to be safe and no file is known to be in the way; each file is switched in when it is whole. One
 * that is there already stays.
 * @throws Problem `NOTHING_TO_PULL`, `NO_CHECKPOINT`, `FILES_DIFFER`, and those of reading, of unsafe paths, of fetching.
 */
export async function pullRun(
  { store, keys, printer, project }: { store: Store; keys: StoreKeys; printer: Printer; project: string },
  record: RunRecord,
  options: PullSelection,
): Promise<Pulled> {
  const { output, signal } = options;
  assertNotHome(output, record.id);
  const { artifacts, checkpoints } = await selectFiles({ store, keys, printer }, record, options);
  // As the artifacts were when they were listed.
  assertArtifactList(checkpoints);
  const files = [...artifacts, ...checkpoints];
  assertArtifactSize(files, options.limit);
  const sent = new SentFiles(store, keys, record.snapshot);
  const standing = new Standing(
    output,
    files.map(({ path }) => path),
  );
  const screened = await screenArtifacts(files, { output, sent, named: new Set(options.paths), takesEdited: true });
  const { accepted, unchanged, heldBack, ignored, fold, collected } = screened;
  reportHeldBack(printer, project, record.id, heldBack, ignored);
  assertNotBlocked(
    output,
    accepted.map(({ path }) => path),
  );
  const present = await compareWithPresent(accepted, { output, sent, collected }, fold);
  if (!options.overwrite) assertSameArtifacts(output, present.differ);
  makeDirectory(output);
  for (const directory of new Set(accepted.map(({ path }) => dirname(join(output, path)))))
    recoverUnfinished(directory);

  const fetching = {
    store,
    prefix: prefixOfRecord(keys, record),
    printer,
    output,
    present,
    standing,
    screened,
    signal,
  };
  const { fetched, there, bytes } = await fetchScreened(fetching);
  const pulled: Pulled = { fetched, there: unchanged.length + there, heldBack, bytes };
  const already = pulled.there > 0 ? `, ${pulled.there} there already` : '';
  printer.line(`Pulled ${formatCount(fetched, 'file')} (${formatSize(bytes)})${already}: ${output}`);
  return pulled;
}

interface Fetching {
  store: Store;
  /** Of the run's keys. */
  prefix: string;
  printer: Printer;
  output: string;
  present: Present;
  standing: Standing;
  screened: Screened<StoredFile>;
  signal?: AbortSignal;
}

/** Fetches the accepted files that are not here; a pointer goes where its artifact has come. */
async function fetchScreened({
  store,
  prefix,
  printer,
  output,
  present,
  standing,
  screened: { accepted, tracked, fold },
  signal,
}: Fetching): Promise<Omit<Pulled, 'heldBack'>> {
  const total = accepted.reduce((sum, { size }) => sum + size, 0);
  const progress = printer.progress('Fetching', total);
  const pulled = { fetched: 0, there: 0, bytes: 0 };
  const semaphore = new Semaphore(CONCURRENT_PARTS);
  let done = 0;
  await forEachFile(accepted, CONCURRENT_FILES, signal, async (file, any) => {
    const { path } = file;
    const target = join(output, path);
    const check = async () => {
      assertNoSymlinkInPath(output, dirname(path));
      if (standing.hasChanged(path) && !(await hasContent(target, file))) throw changedMeanwhile(output, path);
    };
    if (present.same.has(path)) {
      await check();
      setExecutable(target, file.executable);
      pulled.there++;
      progress.update((done += file.size));
    } else {
      await fetchFile({ store, prefix, entry: file }, target, {
        signal: any,
        semaphore,
        check,
        onBytes: (bytes, fetched) => {
          if (fetched) pulled.bytes += bytes;
          progress.update((done += bytes));
        },
      });
      pulled.fetched++;
    }
    if (!tracked.has(fold(pointerPath(path)))) {
      assertNoSymlinkInPath(output, dirname(path));
      removePointer(target, file.sha256);
    }
  }).finally(() => progress.end());
  return pulled;
}

/** @throws Problem where something that is here would be written through, or would have to go. */
function assertNotBlocked(output: string, paths: string[]): void {
  for (const path of paths) {
    const parts = path.split('/');
    const parents = parts.slice(1).map((_, depth) => parts.slice(0, depth + 1).join('/'));
    for (const at of [...parents, path, unfinished(path)]) {
      const stat = lookUp(join(output, at));
      if (!stat) continue;
      const fits = parents.includes(at) ? stat.isDirectory() : at === path ? !stat.isDirectory() : stat.isFile();
      if (!fits) {
        throw new Problem(
          'ARTIFACT_BLOCKED',
          `${printablePath(path)} can't be written: ${printablePath(at)} is in the way.`,
          {
            next: `Move it away, in ${output}, and run the same command again.`,
          },
        );
      }
    }
  }
}

interface Present {
  /** Paths of files that are here with the content that is wanted. */
  same: Set<string>;
  /** Paths of files that are here with another content, which no collection has brought and which was not sent. */
  differ: string[];
}

/** What is here of the files that are wanted. */
async function compareWithPresent(
  wanted: readonly Artifact[],
  { output, sent, collected }: { output: string; sent: SentFiles; collected: CollectedFiles },
  fold: FoldNames,
): Promise<Present> {
  const present: Present = { same: new Set(), differ: [] };
  const queue = [...wanted];
  const compare = async () => {
    for (let file = queue.shift(); file; file = queue.shift()) {
      const { path } = file;
      const target = join(output, path);
      if (!lookUp(target)) continue;
      if (await hasContent(target, file)) {
        present.same.add(path);
        continue;
      }
      const was = file.sentAs === undefined ? null : await sent.contentOf(file.sentAs, fold);
      const known = [...(collected.contents.get(path) ?? []), ...(was ? [was] : [])];
      const isKnown = (await Promise.all(known.map((each) => hasContent(target, each)))).some(Boolean);
      if (!isKnown) present.differ.push(path);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENT_FILES }, compare));
  present.differ.sort();
  return present;
}

/** @throws Problem where files that are here would be replaced, and are not what a collection has brought. */
function assertSameArtifacts(output: string, differ: string[]): void {
  if (differ.length === 0) return;
  const named = differ.slice(0, 10).map((path) => `  ${printablePath(path)}`);
  const more = differ.length > 10 ? [`  and ${differ.length - 10} more`] : [];
  throw new Problem(
    'FILES_DIFFER',
    [`${formatCount(differ.length, 'file')} in ${output} would be replaced by other content:`, ...named, ...more].join(
      '\n',
    ),
    {
      next: 'Nothing was written. To replace them, add --overwrite. To keep them, choose another directory with --output.',
    },
  );
}

function changedMeanwhile(output: string, path: string): Problem {
  return new Problem(
    'FILES_DIFFER',
    `${printablePath(path)} in ${output} was changed while it was fetched, and was not replaced.`,
    { next: 'Move it away and run the same command again. Files that were fetched are not fetched again.' },
  );
}

function setExecutable(target: string, executable: boolean): void {
  if (process.platform === 'win32') return;
  const descriptor = openSync(target, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(descriptor);
    const mode = stat.mode & 0o7777;
    // As the umask or the user left it: who may not read the file may not run it either.
    if (stat.isFile() && Boolean(mode & 0o100) !== executable)
      fchmodSync(descriptor, executable ? mode | ((mode & 0o444) >> 2) : mode & ~0o111);
  } finally {
    closeSync(descriptor);
  }
}

/** The artifact is here: what stood in its place goes. */
function removePointer(target: string, sha256: string): void {
  const pointer = pointerPath(target);
  if (lookUp(pointer)?.isFile() && parsePointer(readRegularFile(pointer))?.sha256 === sha256) rmSync(pointer);
}
