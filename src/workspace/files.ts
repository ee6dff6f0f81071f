import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import type { ProjectGraph } from '@nx/devkit';
import { Problem } from '../report/problem';
import { globBase, globMatcher, isGlob, rootedGlob, secretMatcher, type RootedGlob } from '../config/glob';
import { outputMatcher, type Output } from '../config/outputs';
import { ENV_FILE } from '../config/policy';
import { printable, printablePath } from '../report/terminal-text';
import { PACKAGING_FILES, whyNotTrained } from '../config/not-trained';
import { formatCount } from '../report/units';
import { environmentFiles } from '../config/environment';
import type { EnvironmentChoice } from '../config/environment-choice';
import { gitFiles, linkFault, linkTarget, nxIgnored, specialFiles, type GitFiles } from './git-files';
import { lookUp } from './look-up';
import { isScratch } from './scratch';

export interface FilesInput {
  workspaceRoot: string;
  projectGraph: ProjectGraph;
  projectName: string;
  include: string[];
  exclude: string[];
  /** `sync.secret`; given where a pattern that matches nothing is to be reported. */
  secret?: string[];
  dependencies: boolean;
  /** What trainings leave never travels back to the instance. */
  outputs: readonly Output[];
  /** The files that the project's environment is made of travel, wherever in the workspace they are. */
  environment: EnvironmentChoice;
}

export interface FoundFiles {
  /** Workspace-relative, sorted. */
  paths: string[];
  emptyDirectories: string[];
  leftOut: { path: string; why: string }[];
  warnings: string[];
}

/** Workspace-relative paths of the files of projects. */
export type ListFiles = (projectGraph: ProjectGraph, projects: readonly string[]) => Promise<string[]>;

/** A pattern that has matched none of so many files is not searched for further. */
const MAX_LOOKED_AT = 10_000;
/** Parts of paths that never travel, and why. */
export const NEVER: ReadonlyMap<string, string> = new Map([
  ['.git', 'version control'],
  ['node_modules', 'packages of Node'],
  ['__pycache__', 'compiled Python'],
  ['.venv', 'a virtual environment'],
  ['venv', 'a virtual environment'],
  ['.nx', "Nx's cache"],
]);

/** As Nx knows them: git-ignored files are not among them. */
const listFiles: ListFiles = async (projectGraph, projects) => {
  // Loaded where Nx is asked: whoever has a list can do without.
  const { createProjectFileMapUsingProjectGraph } = await import('@nx/devkit');
  const files = await createProjectFileMapUsingProjectGraph(projectGraph);
  return projects.flatMap((project) => files[project] ?? []).map(({ file }) => file);
};

/**
 * The files of a project: its own and its dependencies' as Nx lists them, those that its environment is made of,
 * and what `include` names though it is git-ignored; less what `exclude` names and what never travels.
 * @throws Problem where nothing is left to send.
 */
export async function findFiles(input: FilesInput, list: ListFiles = listFiles): Promise<FoundFiles> {
  const { workspaceRoot, projectGraph, projectName } = input;
  const projectRoot = projectGraph.nodes[projectName].data.root;
  const found = findIncluded({ ...input, projectRoot });
  const { paths, emptyDirectories, leftOut, warnings, take } = found;
  const projects = projectsOf(input);
  const roots = projects.map((name) => projectGraph.nodes[name].data.root);
  const reasons = whyLeftOut(workspaceRoot, roots);
  const onGitFailed = (error: Error) => {
    warnings.push(`git can't say which files it has, only those that Nx lists are sent: ${printable(error.message)}`);
    return null;
  };
  const [listed, git] = await Promise.all([
    list(projectGraph, projects),
    gitFiles(workspaceRoot, roots).catch(onGitFailed),
  ]);
  const add = (file: string) => {
    const why = paths.has(file) ? null : reasons(file);
    if (why) leftOut.push({ path: file, why });
    else take(file, git?.tracked.has(file));
  };
  for (const file of listed) add(file);
  const nothing: NotListed = { send: [], leftOut: [], named: [], nested: new Map() };
  const missed = git
    ? ((await compareWithGit(workspaceRoot, { projectGraph, projects, listed, git, found }).catch(onGitFailed)) ??
      nothing)
    : nothing;
  for (const file of missed.send) add(file);
  leftOut.push(...missed.leftOut);
  const special = specialFiles(workspaceRoot, [...listed, ...paths]).filter((path) => !paths.has(path));
  leftOut.push(...special.map((path) => ({ path, why: 'neither a file nor a directory' })));
  const environment = { workspaceRoot, projectRoot, choice: input.environment };
  for (const file of environmentFiles(environment, found.excluded)) take(file);

  if (paths.size === 0 && emptyDirectories.size === 0) {
    throw new Problem(
      'NOTHING_TO_SEND',
      `There is nothing to send of ${projectName}: ${leftOut.length ? `all ${leftOut.length} files are left out (${leftOut[0].path}: ${leftOut[0].why})` : `Nx lists no files in ${projectRoot}`}.`,
      {
        next: 'Git-ignored files travel only when "sync.include" names them.',
      },
    );
  }
  const unsent = [...missed.named, ...special];
  if (unsent.length)
    warnings.push(
      `not sent: ${formatCount(unsent.length, 'path')} (${unsent.slice(0, 5).map(printablePath).join(', ')}${unsent.length > 5 ? ', …' : ''}). remote-sync --dryRun says why.`,
    );
  if (missed.nested.size) warnings.push(describeNested(projectName, missed.nested));
  warnings.push(...danglingLinks(workspaceRoot, paths, missed.send));
  warnings.push(...unusedPatterns(input, paths, found.unusedExcludes()));
  return { paths: [...paths].sort(), emptyDirectories: [...emptyDirectories].sort(), leftOut, warnings };
}

/** Paths that git has of the projects and Nx does not list. */
interface NotListed {
  send: string[];
  leftOut: FoundFiles['leftOut'];
  /** Of `leftOut`, the paths that are named in each run, since no setting leaves them out. */
  named: string[];
  /** The number of files of `leftOut` by the project inside that owns them. */
  nested: Map<string, number>;
}

async function compareWithGit(
  workspaceRoot: string,
  of: {
    projectGraph: ProjectGraph;
    projects: string[];
    listed: string[];
    git: GitFiles;
    found: Pick<Included, 'paths' | 'excluded'>;
  },
): Promise<NotListed> {
  const send: string[] = [];
  const leftOut: FoundFiles['leftOut'] = [];
  const named: string[] = [];
  const nested: NotListed['nested'] = new Map();
  const { git } = of;
  const omit = (path: string, why: string, isNamed = true) => {
    leftOut.push({ path, why });
    if (isNamed) named.push(path);
  };
  for (const path of git.unnameable) omit(path, 'its name is not valid UTF-8');
  for (const path of git.submodules)
    if (isEmptyDirectory(join(workspaceRoot, path))) omit(path, 'an empty submodule: git submodule update --init');
  const listed = new Set(of.listed);
  const owner = ownerOf(of.projectGraph);
  const missing: string[] = [];
  for (const path of [...git.tracked, ...git.others]) {
    if (listed.has(path)) continue;
    const project = owner(path);
    if (project === undefined || of.projects.includes(project)) missing.push(path);
    else if (of.found.paths.has(path)) continue;
    else if (of.found.excluded(path)) omit(path, 'sync.exclude', false);
    else {
      // A project around others, as one in the workspace's root, does not own their files.
      omit(path, `it belongs to the project ${project}, on which this one does not depend`, false);
      nested.set(project, (nested.get(project) ?? 0) + 1);
    }
  }
  if (missing.length === 0) return { send, leftOut, named, nested };
  const ignored = await nxIgnored(workspaceRoot, missing);
  for (const path of missing) {
    const stat = lookUp(join(workspaceRoot, path));
    if (!stat) continue;
    if (ignored.has(path)) omit(path, '.nxignore', false);
    else if (stat.isSymbolicLink()) {
      const fault = linkFault(workspaceRoot, path);
      if (fault) omit(path, fault);
      else send.push(path);
    } else if (stat.isFile() && git.tracked.has(path)) send.push(path);
  }
  return { send, leftOut, named, nested };
}

function describeNested(projectName: string, nested: NotListed['nested']): string {
  const count = [...nested.values()].reduce((sum, each) => sum + each, 0);
  const few = [...nested.keys()].sort().slice(0, 5).map(printablePath).join(', ');
  return `not sent: ${formatCount(count, 'file')} of ${formatCount(nested.size, 'project')} in directories of ${printable(projectName)} or its dependencies (${few}${nested.size > 5 ? ', …' : ''}), on which it does not depend. "implicitDependencies" in project.json or "sync.include" sends them; "sync.exclude" of their directories ends this warning.`;
}

/** The project that a path belongs to: the innermost. */
function ownerOf({ nodes }: ProjectGraph): (path: string) => string | undefined {
  const byRoot = new Map(Object.entries(nodes).map(([name, { data }]) => [data.root, name]));
  return (path) => {
    for (let at = posix.dirname(path); ; at = posix.dirname(at)) {
      const name = byRoot.get(at);
      if (name !== undefined || at === '.') return name;
    }
  };
}

/** Warnings of links that lead nowhere on the instance. */
function danglingLinks(workspaceRoot: string, paths: ReadonlySet<string>, links: readonly string[]): string[] {
  return links.flatMap((path) => {
    if (!paths.has(path) || !lookUp(join(workspaceRoot, path))?.isSymbolicLink()) return [];
    const target = linkTarget(workspaceRoot, path);
    if (target === '.' || [...paths].some((each) => each === target || each.startsWith(`${target}/`))) return [];
    const link = `the symbolic link ${printablePath(path)} leads to ${printablePath(target)}, which`;
    if (!lookUp(join(workspaceRoot, target))) return `${link} does not exist`;
    return `${link} is not sent: add ${printable(`{workspaceRoot}/${target}`)} to "sync.include"`;
  });
}

function isEmptyDirectory(path: string): boolean {
  try {
    return readdirSync(path).length === 0;
  } catch {
    return false;
  }
}

/**
 * Why a file of a project is left out by default: it is a test, a notebook, or a document that no packaging file of the
 * project names.
 */
function whyLeftOut(workspaceRoot: string, roots: string[]): (path: string) => string | null {
  const innermostFirst = [...roots].sort((a, b) => b.length - a.length);
  const packaging = new Map<string, string>();
  const textOf = (root: string) => {
    const known = packaging.get(root);
    if (known !== undefined) return known;
    const text = PACKAGING_FILES.map((name) => readText(join(workspaceRoot, root, name))).join('\n');
    packaging.set(root, text);
    return text;
  };
  return (path) => {
    const root = innermostFirst.find((each) => each === '.' || path.startsWith(`${each}/`));
    if (root === undefined) return null;
    const own = root === '.' ? path : path.slice(root.length + 1);
    const why = whyNotTrained(own);
    if (why === null || (!own.includes('/') && textOf(root).includes(own))) return null;
    return `${why}: "sync.include" sends it`;
  };
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

interface Included {
  paths: Set<string>;
  emptyDirectories: Set<string>;
  leftOut: FoundFiles['leftOut'];
  warnings: string[];
  /** Files that git tracks travel from outputs, too: trainings did not leave them. */
  take(path: string, isTracked?: boolean): void;
  /** Whether a pattern of `exclude` matches a path. */
  excluded(path: string): boolean;
  /** Patterns of `exclude` that have matched no path so far. */
  unusedExcludes(): RootedGlob[];
}

/** What `sync.include` names, git-ignored or not, and `take`, which decides of any path whether it travels. */
export function findIncluded(
  input: Omit<FilesInput, 'projectGraph' | 'projectName' | 'dependencies' | 'environment'> & { projectRoot: string },
): Included {
  const { workspaceRoot, projectRoot } = input;
  const exclude = globsOf(projectRoot, input.exclude).map((glob) => ({ matches: globMatcher(glob), glob }));
  const unused = new Set(exclude);
  const excluded = (path: string) => {
    // Each is tried: the ones that match nothing are named.
    const matching = exclude.filter(({ matches }) => matches(path));
    for (const each of matching) unused.delete(each);
    return matching.length > 0;
  };
  const isOutput = outputMatcher(projectRoot, input.outputs);
  const leftOut: FoundFiles['leftOut'] = [];
  const paths = new Set<string>();
  const emptyDirectories = new Set<string>();
  const warnings: string[] = [];
  const include = input.include.map((written) => {
    const glob = rootedGlob(projectRoot, written);
    if (glob) return includedGlob(workspaceRoot, glob);
    throw new Problem('INCLUDE_OUTSIDE', `"sync.include" names ${printable(written)}, which is outside the workspace.`);
  });
  const literal = new Set(include.flatMap(({ path }) => (path === null ? [] : [path])));
  const take = (path: string, isTracked = false) => {
    const why = excluded(path)
      ? 'sync.exclude'
      : !isTracked && isOutput(path)
        ? "the trainings' output"
        : isScratch(path)
          ? 'nx-ec2 works in it'
          : never(path, literal);
    if (why) leftOut.push({ path, why });
    else paths.add(path);
  };
  for (const { written, base, matches } of include) {
    const before = paths.size + emptyDirectories.size + leftOut.length;
    walk(workspaceRoot, base, (path, empty) => {
      if (!matches(path)) return;
      if (!empty) take(path);
      else if (!excluded(path)) emptyDirectories.add(path);
    });
    if (paths.size + emptyDirectories.size + leftOut.length === before)
      warnings.push(`"sync.include" matches nothing: ${printable(written)}`);
  }
  return {
    paths,
    emptyDirectories,
    leftOut,
    warnings,
    take,
    excluded,
    unusedExcludes: () => [...unused].map(({ glob }) => glob),
  };
}

/** The patterns that can match something of the workspace. */
function globsOf(projectRoot: string, patterns: readonly string[]): RootedGlob[] {
  return patterns.flatMap((written) => rootedGlob(projectRoot, written) ?? []);
}

/** What of `include` is looked for, and where: a path that exists is meant literally, whatever characters it holds. */
function includedGlob(workspaceRoot: string, glob: RootedGlob) {
  const asPath = posix.join(glob.root, glob.pattern) || '.';
  const exists = lstatSync(join(workspaceRoot, asPath), { throwIfNoEntry: false }) !== undefined;
  const { written } = glob;
  if (!exists && isGlob(glob.pattern)) return { written, path: null, base: globBase(glob), matches: globMatcher(glob) };
  const path = exists ? asPath : globBase(glob);
  return {
    ...{ written, path, base: path },
    matches: (each: string) => path === '.' || each === path || each.startsWith(`${path}/`),
  };
}

/**
 * Warnings of patterns that match nothing. Those that begin with a double star are for whatever may come, and patterns of
 * `exclude` may name what is git-ignored and therefore not listed.
 */
function unusedPatterns(input: FilesInput, paths: ReadonlySet<string>, excludes: readonly RootedGlob[]): string[] {
  const { workspaceRoot, projectGraph, projectName } = input;
  const { root } = projectGraph.nodes[projectName].data;
  const isSpecific = (pattern: string) => !pattern.replace('{workspaceRoot}/', '').startsWith('**');
  const excluded = excludes.filter((glob) => isSpecific(glob.written) && !existsAnywhere(workspaceRoot, glob));
  const secret = (input.secret ?? []).filter((written) => {
    if (!isSpecific(written)) return false;
    const matches = secretMatcher(root, [written]);
    return ![...paths].some(matches);
  });
  return [
    ...excluded.map(({ written }) => `"sync.exclude" matches nothing: ${printable(written)}`),
    ...secret.map((written) => `"sync.secret" matches nothing that is sent: ${printable(written)}`),
  ];
}

/** Whether a file or an empty directory on disk matches; so many are looked at that it may be taken as given. */
function existsAnywhere(workspaceRoot: string, glob: RootedGlob): boolean {
  const matches = globMatcher(glob);
  let left = MAX_LOOKED_AT;
  let found = false;
  walk(workspaceRoot, globBase(glob), (path) => {
    if (--left <= 0 || matches(path)) found = true;
    return found;
  });
  return found;
}

/** Why a path never travels, unless a pattern without wildcards names the very part that it is left out for. */
function never(path: string, literal: Set<string>): string | null {
  const parts = path.split('/');
  let named = 0;
  for (let depth = 1; depth <= parts.length; depth++) {
    if (literal.has(parts.slice(0, depth).join('/'))) named = depth;
  }
  // A directory that is named does not let what lies hidden in it through.
  for (const part of parts.slice(named)) {
    const why = NEVER.get(part) ?? (ENV_FILE.test(part) ? 'may hold secrets' : undefined);
    if (why) return why;
  }
  return null;
}

/** The projects whose files travel. */
function projectsOf({ projectGraph, projectName, dependencies }: FilesInput): string[] {
  return [projectName, ...(dependencies ? dependenciesOf(projectGraph, projectName) : [])];
}

/** Workspace-relative directories and files in which something may change that travels. */
export function placesOf(input: FilesInput): string[] {
  const { workspaceRoot, projectGraph, include, projectName } = input;
  const { root } = projectGraph.nodes[projectName].data;
  const included = globsOf(root, include).map((glob) => {
    const { base } = includedGlob(workspaceRoot, glob);
    return base === '.' ? '' : base;
  });
  const environment = environmentFiles({ workspaceRoot, projectRoot: root, choice: input.environment });
  return [...projectsOf(input).map((name) => projectGraph.nodes[name].data.root), ...included, ...environment];
}

/** Every project that a project depends on, however far; packages are not projects. */
function dependenciesOf(graph: ProjectGraph, project: string): string[] {
  const seen = new Set([project]);
  const queue = [project];
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    for (const { target } of graph.dependencies[name] ?? []) {
      if (!(target in graph.nodes) || seen.has(target)) continue;
      seen.add(target);
      queue.push(target);
    }
  }
  seen.delete(project);
  return [...seen];
}

/** @returns true once a visit has: then the walk is over. */
function walk(
  workspaceRoot: string,
  from: string,
  visit: (path: string, emptyDirectory: boolean) => boolean | void,
): boolean {
  const stat = lstatSync(join(workspaceRoot, from), { throwIfNoEntry: false });
  if (!stat) return false;
  if (!stat.isDirectory()) return visit(from, false) === true;
  const names = readdirSync(join(workspaceRoot, from));
  if (names.length === 0) return visit(from, true) === true;
  return names
    .filter((name) => name !== '.git' && name !== 'node_modules')
    .some((name) => walk(workspaceRoot, posix.join(from === '.' ? '' : from, name), visit));
}
