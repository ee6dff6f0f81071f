import { globMatcher, rootedGlob, type PathMatcher } from '../../config/syntax/glob';
import { OUTPUT_DIRECTORY, type Output } from '../../config/settings/outputs';
import { Problem } from '../../report/problem';
import type { Printer } from '../../report/printer';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { formatCount } from '../../report/units';
import type { StoreKeys } from '../../store/keys';
import type { Store } from '../../store/store';
import { reportNodes, reportSkipped } from './held-back';
import type { RunRecord } from '../record/record';
import { listArtifacts, type ListedArtifact } from './artifact-list';
import { readCheckpoint, type StoredFile } from '../record/file-lists';

/** How the name of a file outside the project begins. */
const OUTSIDE = '{workspaceRoot}/';
const CHECKPOINTS = `${OUTPUT_DIRECTORY}/checkpoints/`;

export interface PullSelection {
  /** Absolute: stands for the project's directory. Checkpoints go into `artifacts/checkpoints/`: `<n>/`, `<n>.project/`. */
  output: string;
  /** Workspace-relative. */
  projectRoot: string;
  outputs: readonly Output[];
  /**
   * Names or globs of the artifacts that are wanted, project-relative or with `{workspaceRoot}/`; absent: all outputs, and
   * no extra files. Files of a checkpoint have the names that they are pulled to: `artifacts/checkpoints/<n>/…`.
   */
  paths?: string[];
  /** Default: none. A number: that one, of those that the record names. */
  checkpoints?: 'none' | 'last' | 'all' | number;
  /** Replace files that are here and differ. Those that git tracks are never replaced. */
  overwrite?: boolean;
  /** bytes, in all */
  limit: number;
  signal?: AbortSignal;
}

/** What a pull works with. */
export interface PullContext {
  store: Store;
  keys: StoreKeys;
  printer: Printer;
}

/** The requested files of a run: its artifacts, and files of its checkpoints under the paths that they get. */
export async function selectFiles(
  context: PullContext,
  record: RunRecord,
  selection: PullSelection,
): Promise<{ artifacts: ListedArtifact[]; checkpoints: StoredFile[] }> {
  const { store, keys } = context;
  const named = await namedCheckpointFiles(store, keys, record, selection);
  const artifacts = await wantedArtifacts(context, record, selection, named.length > 0);
  const whole = await wantedCheckpoints(store, keys, record, selection);
  const chosen = new Set([...artifacts, ...whole].map(({ path }) => path));
  return { artifacts, checkpoints: [...whole, ...named.filter(({ path }) => !chosen.has(path))] };
}

/**
 * The requested artifacts of a run, as its list has them.
 * @param isFound the paths name files of its checkpoints: they need not name an artifact.
 */
async function wantedArtifacts(
  { store, keys, printer }: PullContext,
  record: RunRecord,
  { paths, projectRoot, outputs, checkpoints = 'none' }: PullSelection,
  isFound: boolean,
): Promise<ListedArtifact[]> {
  const list = await listArtifacts({ store, keys }, record, { projectRoot, outputs });
  if (!list) {
    if (isFound) return [];
    const why =
      record.artifacts?.state === 'failed'
        ? `The artifacts of ${record.id} could not be saved: ${sanitizeForTerminal(record.artifacts.error?.message ?? 'no reason was given')}`
        : `The artifacts of ${record.id} are not in the store${record.state === 'ended' ? '' : ' yet: they are saved after its end'}.`;
    if (paths || checkpoints === 'none') throw new Problem('NOTHING_TO_PULL', why);
    printer.warn(why);
    return [];
  }
  reportSkipped(printer, list.skipped);
  reportNodes(printer, keys.project, record.id, list);
  const matches = paths && selectionMatcher(paths, new Set(list.files.map(({ name }) => name)));
  const chosen = list.files.filter(({ name, output }) => (matches ? matches(name) : output !== undefined));
  if (paths && chosen.length === 0 && !isFound) {
    const some = list.files.slice(0, 10).map(({ name }) => `  ${sanitizeForTerminal(name)}`);
    throw new Problem(
      'NOTHING_TO_PULL',
      `No artifact of ${record.id} is named ${sanitizeForTerminal(paths.join(', '))}.`,
      {
        next: `It has ${formatCount(list.files.length, 'artifact')}${some.length > 0 ? `:\n${some.join('\n')}` : '.'}`,
      },
    );
  }
  return chosen;
}

/** What is wanted by its path, whatever characters it holds, or by a glob. */
function selectionMatcher(wanted: readonly string[], listed: ReadonlySet<string>): PathMatcher {
  const matchers = wanted.map((each): PathMatcher => {
    if (listed.has(each)) return (name) => name === each;
    const isOutside = each.startsWith(OUTSIDE);
    const glob = rootedGlob('', isOutside ? each.slice(OUTSIDE.length) : each);
    if (!glob) return () => false;
    const matchesGlob = globMatcher(glob);
    return (name) => {
      if (name.startsWith(OUTSIDE) !== isOutside) return false;
      return matchesGlob(isOutside ? name.slice(OUTSIDE.length) : name);
    };
  });
  return (path) => matchers.some((matches) => matches(path));
}

/** The files of the requested checkpoints, under the paths that they get, relative to the project. */
export async function wantedCheckpoints(
  store: Store,
  keys: StoreKeys,
  record: RunRecord,
  { checkpoints = 'none' }: PullSelection,
): Promise<StoredFile[]> {
  if (checkpoints === 'none') return [];
  const kept = record.checkpoints.map(({ n }) => n);
  if (typeof checkpoints !== 'number' && kept.length === 0)
    throw new Problem('NO_CHECKPOINT', `${record.id} has no checkpoint${record.state === 'ended' ? '' : ' yet'}.`);
  const numbers = typeof checkpoints === 'number' ? [checkpoints] : checkpoints === 'last' ? kept.slice(-1) : kept;
  const wanted: StoredFile[] = [];
  for (const n of numbers) wanted.push(...(await checkpointFiles(store, keys, record, n)));
  return wanted;
}

/** The files of checkpoints that paths name, as `reportHeldBack` prints them. */
async function namedCheckpointFiles(
  store: Store,
  keys: StoreKeys,
  record: RunRecord,
  { paths = [] }: PullSelection,
): Promise<StoredFile[]> {
  const wanted: StoredFile[] = [];
  for (const { n } of record.checkpoints) {
    const ofThis = paths.filter((path) => [`${n}/`, `${n}.project/`].some((at) => path.startsWith(CHECKPOINTS + at)));
    if (ofThis.length === 0) continue;
    const files = await checkpointFiles(store, keys, record, n);
    const matches = selectionMatcher(ofThis, new Set(files.map(({ path }) => path)));
    wanted.push(...files.filter(({ path }) => matches(path)));
  }
  return wanted;
}

/** The files of a checkpoint, under the paths that they get. */
async function checkpointFiles(store: Store, keys: StoreKeys, record: RunRecord, n: number): Promise<StoredFile[]> {
  const { files } = await readCheckpoint(store, keys, record, n);
  return files.map((file) => {
    // One that was written into the project has a directory of its own, so that it stands in no other's way.
    const path = file.path.startsWith('./') ? `${n}.project/${file.path.slice(2)}` : `${n}/${file.path}`;
    return { ...file, path: CHECKPOINTS + path };
  });
}
