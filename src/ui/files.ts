import { Problem } from '../report/problem';
import { printablePath } from '../report/terminal-text';
import { formatSize } from '../report/units';
import { readParts } from '../run/artifacts/write/download-file';
import { readArtifactList, readCheckpoint, type StoredFile } from '../run/record/file-lists';
import { prefixOfRecord } from '../run/record/record';
import type { CheckpointData, FileRow, FilesData } from './api';
import type { FoundRun } from './store-reader';
import { troubleOf } from './trouble';

/** Files of one list that are shown. */
const MAX_FILES = 2_000;
const MAX_UNSAVED = 200;

/** What a run, or one of its nodes, has saved. */
export async function readFiles({ store, keys, record }: FoundRun): Promise<FilesData> {
  const checkpoints = record.checkpoints.map(({ n, unit, size, files, at, attempt }) => ({
    n,
    unit,
    size,
    files,
    at,
    attempt,
  }));
  const found: FilesData = { files: [], extra: [], more: 0, unsaved: [], trouble: null, checkpoints };
  try {
    const list = await readArtifactList(store, keys, record);
    if (!list) return found;
    found.files = list.files.slice(0, MAX_FILES).map(fileRow);
    found.extra = list.extra.slice(0, MAX_FILES).map(fileRow);
    found.more = list.files.length + list.extra.length - found.files.length - found.extra.length;
    found.unsaved = [
      ...list.unsaved.map(({ path, why, size }) => `${printablePath(path)}, ${formatSize(size)}: ${why}`),
      ...list.skipped.map(({ path, why }) => `${printablePath(path)}: ${why}`),
    ].slice(0, MAX_UNSAVED);
  } catch (error) {
    found.trouble = troubleOf(error);
  }
  return found;
}

export async function readCheckpointFiles({ store, keys, record }: FoundRun, n: number): Promise<CheckpointData> {
  const { files } = await readCheckpoint(store, keys, record, n);
  return { files: files.slice(0, MAX_FILES).map(fileRow), more: Math.max(0, files.length - MAX_FILES) };
}

/**
 * A file that the run's record names, and its content, each part of which is verified.
 * @param path as the list has it. @param checkpoint the number of the checkpoint that it is of; null: it is an artifact
 * @throws Problem `PART_MISSING`, `LIST_MISMATCH`
 */
export async function readSavedFile(
  { store, keys, record }: FoundRun,
  path: string,
  checkpoint: number | null,
): Promise<{ file: StoredFile; content: (signal: AbortSignal) => AsyncIterable<Buffer> }> {
  const list =
    checkpoint === null
      ? await readArtifactList(store, keys, record)
      : await readCheckpoint(store, keys, record, checkpoint);
  const files = list ? [...list.files, ...('extra' in list ? list.extra : [])] : [];
  const file = files.find((each) => each.path === path);
  if (!file) throw new Problem('PART_MISSING', `${record.id} has saved no file ${printablePath(path.slice(0, 1000))}.`);
  const source = { store, prefix: prefixOfRecord(keys, record), entry: file };
  return { file, content: (signal) => readParts(source, signal) };
}

function fileRow({ path, size }: StoredFile): FileRow {
  return { path, name: printablePath(path), size };
}
