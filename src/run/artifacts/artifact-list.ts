import { OUTPUT_DIRECTORY, outputFinder, type Output } from '../../config/settings/outputs';
import type { StoreKeys } from '../../store/keys';
import type { Store } from '../../store/store';
import { assertArtifactList } from './artifact-paths';
import { readOtherNodes } from '../record/node-records';
import { prefixOfRecord, type RunRecord } from '../record/record';
import {
  directoriesOf,
  readArtifactList,
  readCheckpoint,
  type ArtifactList,
  type StoredFile,
} from '../record/file-lists';

/** Where files that a run wrote outside of its project are written, project-relative. */
const OUTSIDE = `${OUTPUT_DIRECTORY}/workspace`;

export interface ListedArtifact extends StoredFile {
  /** Where it is written, project-relative and below the project. */
  path: string;
  /** As people name it: its path relative to the project; outside of the project, it begins with `{workspaceRoot}/`. */
  name: string;
  /** The output that names it; undefined: it is an extra file. */
  output?: Output;
  /** As a snapshot names it, where it may take the place of a file that was sent: only an output may. */
  sentAs?: string;
}

/** Where a run's directory is. */
export interface OnInstance {
  instance: string;
  directory: string;
}

/** What of outputs is not saved. Without `unsaved`, nothing is lost by that. */
export type SkippedFile = ArtifactList['skipped'][number] & OnInstance;

/** A file that a run wrote outside its outputs and that is not in the store. */
export interface UnsavedFile extends OnInstance {
  name: string;
  why: string;
  size: number;
}

export interface Artifacts {
  files: ListedArtifact[];
  /** Files of nodes whose path a node of a lower rank has saved with another content. */
  hidden: { node: number; name: string }[];
  /** Nodes that have saved no list, as one that was lost. */
  missing: number[];
  unsaved: UnsavedFile[];
  /** Paths are project-relative. */
  skipped: SkippedFile[];
}

/**
 * The artifacts of a run, of all its nodes. What is an output, the configuration of today decides: an extra file of the
 * run is one as soon as `train.outputs` names it, and so is a file of its last checkpoint in the project. Of the files
 * that several nodes have saved under one path, that of the lowest rank is listed; so is a file of it rather than a
 * directory of the same path, and the other way round.
 * @returns null where none were saved.
 * @throws Problem `LIST_MISMATCH`, `ARTIFACT_UNSAFE`, `RECORD_UNVERIFIED`
 */
export async function listArtifacts(
  at: { store: Store; keys: StoreKeys },
  record: RunRecord,
  rules: OutputRules,
): Promise<Artifacts | null> {
  const first = await listOfNode(at, record, rules);
  const others = await readOtherNodes(at, record);
  if (others.length === 0) return first;
  const all: Artifacts = { files: [], hidden: [], missing: first ? [] : [0], unsaved: [], skipped: [] };
  const taken = new Map<string, ListedArtifact>();
  const directories = new Set<string>();
  const add = (list: Artifacts, rank: number, prefix?: string) => {
    for (const file of list.files) {
      const before = taken.get(file.name);
      const parents = directoriesOf(file.name);
      const isBlocked = directories.has(file.name) || parents.some((parent) => taken.has(parent));
      if (isBlocked || (before && before.sha256 !== file.sha256)) all.hidden.push({ node: rank, name: file.name });
      else if (!before) {
        taken.set(file.name, prefix === undefined ? file : { ...file, prefix });
        for (const parent of parents) directories.add(parent);
      }
    }
    all.unsaved.push(...list.unsaved);
    all.skipped.push(...list.skipped);
  };
  if (first) add(first, 0);
  for (const other of others) {
    const list = await listOfNode(at, other, rules);
    if (list) add(list, other.node!.rank, prefixOfRecord(at.keys, other));
    else all.missing.push(other.node!.rank);
  }
  if (all.missing.length > others.length) return null;
  all.files = [...taken.values()];
  assertNoDuplicates(all.files);
  return all;
}

/** Before anything is done with a path; and once more where all of them are to lie. */
function assertNoDuplicates(files: readonly ListedArtifact[]): void {
  // A file outside the project may get the path of an artifact, which is no reason to refuse the others: `screenArtifacts`.
  assertArtifactList(files.filter(({ name, path }) => name === path));
}

interface OutputRules {
  projectRoot: string;
  outputs: readonly Output[];
}

/** The artifacts that the record of a run, or of one of its nodes, names. */
async function listOfNode(
  { store, keys }: { store: Store; keys: StoreKeys },
  record: RunRecord,
  { projectRoot, outputs }: OutputRules,
): Promise<Artifacts | null> {
  const list = await readArtifactList(store, keys, record);
  if (!list) return null;
  for (const each of [list.files, list.extra]) assertArtifactList(each);
  const find = outputFinder(outputs);
  const nameOf = (path: string) => {
    if (projectRoot === '.') return path;
    return path.startsWith(`${projectRoot}/`) ? path.slice(projectRoot.length + 1) : `{workspaceRoot}/${path}`;
  };
  const listed = (file: StoredFile, name: string): ListedArtifact => {
    if (name.startsWith('{workspaceRoot}/')) return { ...file, name, path: `${OUTSIDE}/${file.path}` };
    const output = find(name);
    const sentAs = projectRoot === '.' ? name : `${projectRoot}/${name}`;
    return { ...file, name, path: name, ...(output && { output, sentAs }) };
  };
  const files = [
    ...list.files.map((file) => listed(file, file.path)),
    ...list.extra.map((file) => listed(file, nameOf(file.path))),
  ];
  const named = new Set(files.map(({ name }) => name));
  for (const file of await lastCheckpoint({ store, keys }, record, named)) {
    const artifact = listed(file, file.path);
    if (artifact.output && !named.has(artifact.name)) files.push(artifact);
  }
  assertNoDuplicates(files);
  const { instance, directory } = record;
  return {
    files,
    hidden: [],
    missing: [],
    unsaved: list.unsaved.map(({ path, ...rest }) => ({ name: nameOf(path), ...rest, instance, directory })),
    skipped: list.skipped.map((each) => ({ ...each, instance, directory })),
  };
}

/** The files of the last checkpoint in the project, project-relative; none where the list has that checkpoint as an output. */
async function lastCheckpoint(
  { store, keys }: { store: Store; keys: StoreKeys },
  record: RunRecord,
  listed: ReadonlySet<string>,
): Promise<StoredFile[]> {
  const last = record.checkpoints.at(-1);
  const unit = last && projectPath(last.unit);
  if (!unit || [...listed].some((name) => name === unit || name.startsWith(`${unit}/`))) return [];
  const { files } = await readCheckpoint(store, keys, record, last.n);
  return files.flatMap((file) => {
    const path = projectPath(file.path);
    return path === null ? [] : [{ ...file, path }];
  });
}

/** A name in a checkpoint, or of one, relative to the project; null: it is in the checkpoint directory. */
export function projectPath(name: string): string | null {
  return name.startsWith('./') ? name.slice(2) : null;
}
