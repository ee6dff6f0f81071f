import { accessSync, constants, lstatSync, readdirSync, readFileSync, statSync, type Stats } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileStat, type FileStat } from '../../snapshot/hash-cache';
import { steadyNow } from '../../system/moment';
import { nextTurn } from '../../system/sleep';
import { IgnoreRules, type DirectoryRules, type Verdict } from './ignore-rules';
import { userRules } from './user-rules';

/** The files of a workspace that Nx would list, with what `lstat` said of them. */
export interface WalkedFiles {
  /** Of each file, by its workspace-relative path; null for a link. */
  stats: Map<string, FileStat | null>;
  /** Workspace-relative directories that hold any of them. */
  directories: Set<string>;
  /** Pipes, sockets and devices in these directories. */
  special: string[];
  /** When the walk began, ms since the epoch. */
  since: number;
}

/** Names that Nx never lists, whatever they are, and what it leaves out of two directories. */
const NEVER_LISTED = new Set(['node_modules', '.git']);
const NEVER_LISTED_IN = new Map([
  ['.nx', new Set(['cache', 'workspace-data'])],
  ['.yarn', new Set(['cache'])],
]);
/** For so long, ms, a walk runs before anything else has its turn. */
const SLICE_MS = 5;
/** Everybody may read it. */
const READABLE = 0o444;

/**
 * Lists the files below roots of projects as Nx does, at a fraction of the time: Nx walks and hashes the whole
 * workspace, and `lstat` follows anyway.
 * @param roots workspace-relative, without a slash at their ends, `.` for the workspace.
 * @param inner roots of all projects: a directory that is one is listed only if it is among `roots`.
 * @returns null where Nx may see something that is not read the same here: Nx must be asked then.
 */
export async function listByWalk(
  workspaceRoot: string,
  roots: readonly string[],
  inner: ReadonlySet<string>,
): Promise<WalkedFiles | null> {
  try {
    return await new Walk(workspaceRoot, inner).list(roots);
  } catch (error) {
    // Nx, too, meets what the file system has against it.
    if (error === UNKNOWN || (error as NodeJS.ErrnoException).syscall) return null;
    throw error;
  }
}

/** Thrown where only Nx knows what it lists. */
const UNKNOWN = new Error('only Nx knows what it lists here');

/** An ignore file and where it is: its rules are relative to that. */
interface Level {
  rules: IgnoreRules;
  /** Workspace-relative, with a slash at its end, or empty. */
  directory: string;
}

/** What applies in a directory, the innermost first. A .nxignore is heard before any .gitignore. */
interface Levels {
  nx: readonly Level[];
  git: readonly Level[];
}

class Walk {
  private readonly found: WalkedFiles = { stats: new Map(), directories: new Set(), special: [], since: Date.now() };
  private turn = steadyNow();

  constructor(
    private readonly workspaceRoot: string,
    private readonly inner: ReadonlySet<string>,
  ) {}

  async list(roots: readonly string[]): Promise<WalkedFiles> {
    if (process.platform === 'win32') throw UNKNOWN;
    assertOwnRules(this.workspaceRoot);
    const user = userRules(this.workspaceRoot);
    if (user === null) throw UNKNOWN;
    const outermost: Levels = { nx: [], git: user.map((rules) => ({ rules, directory: '' })) };
    for (const root of new Set(roots)) {
      const levels = this.levelsAbove(root, outermost);
      if (levels) await this.walk(root === '.' ? '' : `${root}/`, levels);
    }
    return this.found;
  }

  /** What applies in the directory that a project is in; null where that is not listed. */
  private levelsAbove(root: string, outermost: Levels): Levels | null {
    if (root === '.') return outermost;
    let directory = '';
    let levels = outermost;
    for (const name of root.split('/')) {
      if (name === '' || name === '.' || name === '..') throw UNKNOWN;
      const stat = lstatSync(join(this.workspaceRoot, directory, name), { throwIfNoEntry: false });
      if (!stat) return null;
      if (!stat.isDirectory()) throw UNKNOWN;
      levels = this.levelsIn(directory, names(join(this.workspaceRoot, directory)), levels);
      if (isNeverListed(directory, name) || verdictOf(rulesIn(directory, levels), name, true) === 'ignored')
        return null;
      directory += `${name}/`;
    }
    return levels;
  }

  private async walk(directory: string, above: Levels): Promise<void> {
    const entries = names(join(this.workspaceRoot, directory)).sort();
    const levels = this.levelsIn(directory, entries, above);
    const rules = rulesIn(directory, levels);
    const { stats, special, directories } = this.found;
    const inside: string[] = [];
    const pipes: string[] = [];
    const before = stats.size;
    let ignored = false;
    for (const name of entries) {
      if (name.includes('\ufffd')) throw UNKNOWN;
      if (isNeverListed(directory, name)) continue;
      // Most of what is ignored is so whatever it is: nothing looks at it.
      const asFile = verdictOf(rules, name, false) === 'ignored';
      const asDirectory = verdictOf(rules, name, true) === 'ignored';
      if (asFile && asDirectory) {
        ignored = true;
        continue;
      }
      const path = directory + name;
      const stat = lstatSync(`${this.workspaceRoot}/${path}`, { throwIfNoEntry: false });
      if (!stat) continue;
      if (stat.isDirectory()) {
        if (!asDirectory && !this.inner.has(path)) inside.push(`${path}/`);
      } else if (asFile) ignored = true;
      else if (stat.isFile() || stat.isSymbolicLink()) {
        if (isReadableFile(`${this.workspaceRoot}/${path}`, stat))
          stats.set(path, stat.isFile() ? fileStat(stat) : null);
      } else pipes.push(path);
    }
    if (stats.size > before) {
      directories.add(directory === '' ? '.' : directory.slice(0, -1));
      special.push(...(ignored ? this.specialIn(directory) : pipes));
    }
    if (steadyNow() - this.turn >= SLICE_MS) {
      // Requests to AWS are sent and answered meanwhile.
      await nextTurn();
      this.turn = steadyNow();
    }
    for (const each of inside) await this.walk(each, levels);
  }

  private levelsIn(directory: string, entries: readonly string[], above: Levels): Levels {
    let { nx, git } = above;
    for (const name of entries) {
      if (name.charCodeAt(0) !== DOT) continue;
      // Rules of its own, a repository of its own, or what versions of Nx read differently.
      if (name === '.ignore' || (name === '.git' && directory !== '')) throw UNKNOWN;
      if (name !== '.gitignore' && name !== '.nxignore') continue;
      const rules = this.read(directory + name);
      if (rules.isEmpty) continue;
      if (name === '.nxignore') nx = [{ rules, directory }, ...nx];
      else git = [{ rules, directory }, ...git];
    }
    return { nx, git };
  }

  private read(path: string): IgnoreRules {
    const absolute = join(this.workspaceRoot, path);
    if (!lstatSync(absolute).isFile()) throw UNKNOWN;
    const rules = IgnoreRules.parse(readFileSync(absolute, 'utf8'));
    if (!rules) throw UNKNOWN;
    return rules;
  }

  private specialIn(directory: string): string[] {
    return readdirSync(join(this.workspaceRoot, directory), { withFileTypes: true })
      .filter((each) => !each.isFile() && !each.isDirectory() && !each.isSymbolicLink())
      .map(({ name }) => directory + name);
  }
}

const DOT = 0x2e;

/** Nx, too, passes over a directory that can't be read or has disappeared. */
function names(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function isNeverListed(directory: string, name: string): boolean {
  if (NEVER_LISTED.has(name)) return true;
  if (!directory.endsWith('.nx/') && !directory.endsWith('.yarn/')) return false;
  return NEVER_LISTED_IN.get(directory.slice(0, -1).split('/').pop()!)?.has(name) ?? false;
}

function rulesIn(directory: string, { nx, git }: Levels): DirectoryRules[] {
  return [...nx, ...git].map(({ rules, directory: at }) => rules.in(directory.slice(at.length)));
}

function verdictOf(rules: readonly DirectoryRules[], name: string, isDirectory: boolean): Verdict {
  for (const each of rules) {
    const verdict = each(name, isDirectory);
    if (verdict) return verdict;
  }
  return null;
}

/** Whether Nx, which reads every file that it lists, could read a file or what a link leads to. */
function isReadableFile(path: string, stat: Stats): boolean {
  try {
    const target = stat.isSymbolicLink() ? statSync(path) : stat;
    if (!target.isFile()) return false;
    if ((target.mode & READABLE) !== READABLE) accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** Ignore files above a workspace apply to it unless it is the root of a repository. */
function assertOwnRules(workspaceRoot: string): void {
  if (lstatSync(join(workspaceRoot, '.git'), { throwIfNoEntry: false })) return;
  for (let at = dirname(workspaceRoot); ; at = dirname(at)) {
    for (const name of ['.git', '.gitignore', '.nxignore', '.ignore'])
      if (lstatSync(join(at, name), { throwIfNoEntry: false })) throw UNKNOWN;
    if (at === dirname(at)) return;
  }
}
