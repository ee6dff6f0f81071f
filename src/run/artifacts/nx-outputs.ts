import { readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { outputFinder } from '../../config/settings/outputs';
import type { SentFiles } from '../../project/sent-files';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal, printablePath } from '../../report/terminal-text';
import { formatCount } from '../../report/units';
import type { Entry } from '../../snapshot/entry';
import { editedTrackedFiles, trackedFiles } from '../../workspace/git/tracked';
import { lookUp } from '../../workspace/look-up';
import type { FoldNames } from '../../workspace/name-folding';
import type { RunContext } from '../../context/types';
import type { RunRecord } from '../record/record';
import type { ListedArtifact } from './artifact-list';
import type { HeldBack } from './write/artifact';
import { linkedDirectories } from './write/linked-directories';
import { parentsOf } from './write/names';
import { hasContent } from './write/same-content';
import type { Standing } from './write/standing';

/** A file in an output, project-relative, and its content. */
export interface Placed {
  path: string;
  size: number;
  sha256: string;
}

/** What a collection left in a project's outputs. Paths are project-relative. */
export interface Delivered {
  /** The project's directory, absolute. */
  root: string;
  /** What the run left and is here: artifacts, pointers, the log. */
  files: readonly Placed[];
  /** What was not written because of what is here: an edit, or a link. */
  notWritten: readonly HeldBack[];
  /** Artifacts that stay in the store, for their size, for the configuration or for their names. */
  absent: readonly ListedArtifact[];
  /** Knows the files as they were when they were written. */
  standing: Standing;
  sent: SentFiles;
  fold: FoldNames;
}

/** A file in an output that is neither what the run left nor what was sent. */
interface ForeignFile extends HeldBack {
  /** Whether it was sent; if not, whether git tracks it, and has another content of it. */
  kind: 'sent' | 'edited' | 'tracked' | 'other';
}

const REMOVED = 'it was removed since it was sent';
const OTHER_FILE = 'the artifact of this name stays in the store, and another file is at its path';
/** Paths that are named in one message. */
const MAX_NAMED = 10;

/**
 * Refuses to call a run a success that Nx caches, where its outputs hold something else than what it left and what was
 * sent: Nx stores them as they are now, and would restore an edit as the result of the training. Files that git does not
 * track and that the run did not write may stay: results of earlier runs.
 * @param listSent the workspace-relative paths that would be sent now.
 * @throws Problem `NOT_CACHED`
 */
export async function assertOutputsOfRun(
  { id }: Pick<RunRecord, 'id'>,
  { configuration }: Pick<RunContext, 'configuration'>,
  delivered: Delivered,
  listSent: () => Promise<readonly string[]>,
): Promise<void> {
  const { projectRoot, train } = configuration;
  const find = outputFinder(train.outputs);
  const isOutput = (path: string) => find(path) !== undefined;
  const { fold } = delivered;
  const entries = (await delivered.sent.entries())?.flatMap((entry) => {
    const path = below(projectRoot, entry.path);
    return path !== null && isOutput(path) ? [{ ...entry, path }] : [];
  });
  const tracked = [...trackedFiles(delivered.root)].filter(isOutput);
  const isTracked = new Set(tracked.map(fold));
  const faults = new Faults(delivered);
  await faults.addArtifacts(new Map(entries?.map((entry) => [fold(entry.path), entry])));
  if (entries) await faults.addSent(entries);
  const unknown = faults.unknown(tracked, entries ?? []);
  if (unknown.length > 0) {
    const sentNow = new Set((await listSent()).map((path) => fold(below(projectRoot, path) ?? '')));
    const why = entries ? 'git tracks it, and it was not sent' : 'the store does not say any more whether it was sent';
    for (const path of unknown) if (sentNow.has(fold(path))) faults.add(path, why);
  }
  const sent = new Set(entries?.flatMap(({ path }) => [...parentsOf(path), path].map(fold)));
  // Files that are never sent are no part of the key: what is committed may be cached, and no more than that.
  const edited = [...editedTrackedFiles(delivered.root)].filter(
    (path) => isOutput(path) && !sent.has(fold(path)) && !faults.isKnown(path),
  );
  const isEdited = new Set(edited.map(fold));
  for (const path of edited) faults.add(path, 'it is not sent, and not as git has it');
  if (faults.found.size === 0) return;
  const kindOf = (path: string): ForeignFile['kind'] => {
    if (sent.has(fold(path))) return 'sent';
    return isEdited.has(fold(path)) ? 'edited' : isTracked.has(fold(path)) ? 'tracked' : 'other';
  };
  const foreign = [...faults.found].map(([path, why]) => ({ path, why, kind: kindOf(path) }));
  const changedByRun = delivered.files.filter(({ path }) => sent.has(fold(path))).map(({ path }) => path);
  throw foreignFilesProblem(id, foreign, changedByRun);
}

/** Collects what is wrong in the outputs. */
class Faults {
  /** By path. */
  readonly found = new Map<string, string>();
  /** Folded paths of which the run's list says what they should be. */
  private readonly known: ReadonlySet<string>;
  private readonly linked: (path: string) => string | null;

  constructor(private readonly delivered: Delivered) {
    const { root, files, notWritten, absent, fold } = delivered;
    this.known = new Set([...files, ...notWritten, ...absent].map(({ path }) => fold(path)));
    this.linked = linkedDirectories(root);
    for (const { path, why } of notWritten) this.add(path, why);
  }

  add(path: string, why: string): void {
    if (!this.isLinked(path) && !this.found.has(path)) this.found.set(path, why);
  }

  /** @param sent by folded path. */
  async addArtifacts(sent: ReadonlyMap<string, Entry>): Promise<void> {
    const { root, files, absent, standing, fold } = this.delivered;
    const isThere = new Set(files.map(({ path }) => fold(path)));
    for (const file of files) {
      if (
        this.isLinked(file.path) ||
        (standing.hasChanged(file.path) && !(await hasContent(join(root, file.path), file)))
      )
        this.add(file.path, 'it is not what the run left: it was changed meanwhile');
    }
    for (const file of absent) {
      const { path } = file;
      // Names that are one here: the other file came.
      if (this.isLinked(path) || isThere.has(fold(path))) continue;
      const stat = lookUp(join(root, path));
      const was = sent.get(fold(path));
      // The files of a directory are looked at as those that they are.
      if (!was && (!stat || stat.isDirectory())) continue;
      if (!(await hasContent(join(root, path), file)) && !(was && (await isAsSent(join(root, path), was))))
        this.add(path, stat ? OTHER_FILE : REMOVED);
    }
  }

  /** Of what was sent and the run did not change. */
  async addSent(entries: readonly Entry[]): Promise<void> {
    const { root } = this.delivered;
    for (const entry of entries) {
      const { path } = entry;
      if (this.isKnown(path) || entry.kind === 'directory' || this.isLinked(path)) continue;
      if (await isAsSent(join(root, path), entry)) continue;
      this.add(path, lookUp(join(root, path)) ? 'it was changed since it was sent' : REMOVED);
    }
  }

  /** Those that are here, and neither of the run nor sent. */
  unknown(paths: readonly string[], sent: readonly Entry[]): string[] {
    const { root, fold } = this.delivered;
    const wasSent = new Set(sent.map(({ path }) => fold(path)));
    return paths.filter((path) => !this.isKnown(path) && !wasSent.has(fold(path)) && lookUp(join(root, path)) !== null);
  }

  isKnown(path: string): boolean {
    return this.known.has(this.delivered.fold(path));
  }

  private isLinked(path: string): boolean {
    const link = this.linked(path);
    if (link !== null) this.found.set(link, 'it is a symbolic link');
    return link !== null;
  }
}

async function isAsSent(path: string, entry: Entry): Promise<boolean> {
  const stat = lookUp(path);
  if (entry.kind === 'link') return Boolean(stat?.isSymbolicLink()) && readlinkSync(path) === entry.target;
  if (entry.kind === 'directory' || !stat?.isFile()) return false;
  const isExecutable = (stat.mode & 0o100) !== 0;
  return (process.platform === 'win32' || isExecutable === entry.executable) && hasContent(path, entry);
}

/** A workspace-relative path relative to the project; null: it is elsewhere. */
function below(projectRoot: string, path: string): string | null {
  if (projectRoot === '.') return path;
  return path.startsWith(`${projectRoot}/`) ? path.slice(projectRoot.length + 1) : null;
}

/** @param changedByRun files that were sent and that are as the run left them. */
function foreignFilesProblem(id: string, foreign: readonly ForeignFile[], changedByRun: readonly string[]): Problem {
  const named = foreign
    .slice(0, MAX_NAMED)
    .map(({ path, why }) => `  ${printablePath(path)}: ${sanitizeForTerminal(why)}`);
  if (foreign.length > MAX_NAMED) named.push(`  and ${foreign.length - MAX_NAMED} more`);
  return new Problem(
    'NOT_CACHED',
    `The training ${id} succeeded, but its outputs hold ${formatCount(foreign.length, 'file')} that ${foreign.length === 1 ? 'is' : 'are'} neither its result nor what was sent:\n${named.join('\n')}`,
    {
      next: [
        `The target is reported as failed so that Nx does not cache ${foreign.length === 1 ? 'this file' : 'these files'} as the result of the training. The other results were downloaded.`,
        ...foreignFilesAdvice(foreign, changedByRun),
      ].join('\n'),
    },
  );
}

/** How the same command finds the run again, and can write what it left. */
function foreignFilesAdvice(foreign: readonly ForeignFile[], changedByRun: readonly string[]): string[] {
  const pathsOf = (kind: ForeignFile['kind']) => foreign.filter((file) => file.kind === kind).map(({ path }) => path);
  const others = pathsOf('other');
  const tracked = pathsOf('tracked');
  const sent = pathsOf('sent');
  const advice: string[] = [];
  if (others.length > 0) advice.push(`Move away: ${nameFew(others)}`);
  const edited = pathsOf('edited');
  if (edited.length > 0) advice.push(`Commit the edit, or keep it elsewhere (git stash): ${nameFew(edited)}`);
  if (tracked.length > 0) advice.push(`Remove from git (git rm --cached) and move away: ${nameFew(tracked)}`);
  // With another content, they are those of another training.
  const restore = [...new Set([...sent, ...changedByRun])];
  if (restore.length > 0) advice.push(`Put back as they were sent (git stash keeps an edit): ${nameFew(restore)}`);
  advice.push('Then run the same command again: it finds this run and downloads its results again.');
  if (sent.length > 0) advice.push('If you commit the edit instead, the same command trains with it.');
  return advice;
}

function nameFew(paths: readonly string[]): string {
  return `${paths.slice(0, MAX_NAMED).map(printablePath).join(', ')}${paths.length > MAX_NAMED ? ', …' : ''}`;
}
