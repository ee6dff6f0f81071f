import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import type { ProjectGraph } from '@nx/devkit';
import picomatch from 'picomatch';
import { Problem } from '../report/problem';
import { GLOB } from '../config/glob';
import { ENV_FILE } from '../config/policy';
import { PACKAGING_FILES, whyNotTrained } from '../config/not-trained';
import { ROOT_FILES } from '../config/root-files';

export interface FilesInput {
  workspaceRoot: string;
  projectGraph: ProjectGraph;
  projectName: string;
  include: string[];
  exclude: string[];
  dependencies: boolean;
  /** Project-relative: what trainings leave never travels back there. */
  outputDir: string;
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

const WORKSPACE = '{workspaceRoot}/';
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
 * The files of a project: its own and its dependencies' as Nx lists them, the root's lock files, and what `include`
 * names though it is git-ignored; less what `exclude` names and what never travels.
 * @throws Problem where nothing is left to send.
 */
export async function findFiles(input: FilesInput, list: ListFiles = listFiles): Promise<FoundFiles> {
  const { workspaceRoot, projectGraph, projectName } = input;
  const projectRoot = projectGraph.nodes[projectName].data.root;
  const found = findIncluded({ ...input, projectRoot });
  const { paths, emptyDirectories, leftOut, warnings, take } = found;
  const projects = projectsOf(input);
  const reasons = whyLeftOut(
    workspaceRoot,
    projects.map((name) => projectGraph.nodes[name].data.root),
  );
  for (const file of await list(projectGraph, projects)) {
    const why = paths.has(file) ? null : reasons(file);
    if (why) leftOut.push({ path: file, why });
    else take(file);
  }
  for (const file of ROOT_FILES) if (existsSync(join(workspaceRoot, file))) take(file);

  if (paths.size === 0 && emptyDirectories.size === 0) {
    throw new Problem(
      'NOTHING_TO_SEND',
      `There is nothing to send of ${projectName}: ${leftOut.length ? `all ${leftOut.length} files are left out (${leftOut[0].path}: ${leftOut[0].why})` : `Nx lists no files in ${projectRoot}`}.`,
      {
        next: 'Git-ignored files travel only when "sync.include" names them.',
      },
    );
  }
  return { paths: [...paths].sort(), emptyDirectories: [...emptyDirectories].sort(), leftOut, warnings };
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

/** What `sync.include` names, git-ignored or not, and `take`, which decides of any path whether it travels. */
export function findIncluded(
  input: Omit<FilesInput, 'projectGraph' | 'projectName' | 'dependencies'> & { projectRoot: string },
): {
  paths: Set<string>;
  emptyDirectories: Set<string>;
  leftOut: FoundFiles['leftOut'];
  warnings: string[];
  take(path: string): void;
} {
  const { workspaceRoot, projectRoot } = input;
  const own = projectRoot === '.' ? '' : projectRoot;
  const inProject = (pattern: string) => fromProject(projectRoot, pattern);
  const excluded = picomatch(input.exclude.map(inProject), GLOB);
  const output = posix.join(own, input.outputDir);
  const leftOut: FoundFiles['leftOut'] = [];
  const paths = new Set<string>();
  const emptyDirectories = new Set<string>();
  const warnings: string[] = [];
  const literal = new Set(
    input.include
      .map(inProject)
      .filter((pattern) => !picomatch.scan(pattern).isGlob)
      .map((path) => path.replace(/\/$/, '')),
  );
  const take = (path: string) => {
    const why = excluded(path)
      ? 'sync.exclude'
      : path.startsWith(`${output}/`)
        ? "the trainings' output"
        : never(path, literal);
    if (why) leftOut.push({ path, why });
    else paths.add(path);
  };
  for (const pattern of input.include.map(inProject)) {
    if (pattern === '..' || pattern.startsWith('../') || posix.isAbsolute(pattern)) {
      throw new Problem('INCLUDE_OUTSIDE', `"sync.include" names ${pattern}, which is outside the workspace.`);
    }
    const before = paths.size + emptyDirectories.size + leftOut.length;
    const scan = picomatch.scan(pattern);
    const trimmed = pattern.replace(/\/$/, '');
    const matches = scan.isGlob
      ? picomatch(pattern, GLOB)
      : (path: string) => path === trimmed || path.startsWith(`${trimmed}/`);
    walk(workspaceRoot, scan.isGlob ? scan.base : trimmed, (path, empty) => {
      if (!matches(path)) return;
      if (!empty) take(path);
      else if (!excluded(path)) emptyDirectories.add(path);
    });
    if (paths.size + emptyDirectories.size + leftOut.length === before)
      warnings.push(`"sync.include" matches nothing: ${pattern}`);
  }
  return { paths, emptyDirectories, leftOut, warnings, take };
}

/** A glob of the configuration, which is relative to its project or begins with {workspaceRoot}/, relative to the workspace. */
export function fromProject(projectRoot: string, pattern: string): string {
  return posix.normalize(
    pattern.startsWith(WORKSPACE)
      ? pattern.slice(WORKSPACE.length)
      : posix.join(projectRoot === '.' ? '' : projectRoot, pattern),
  );
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
  const { projectGraph, include, projectName } = input;
  const { root } = projectGraph.nodes[projectName].data;
  const included = include.map((pattern) => {
    const path = fromProject(root, pattern);
    const { isGlob, base } = picomatch.scan(path);
    return isGlob ? base : path.replace(/\/$/, '');
  });
  return [...projectsOf(input).map((name) => projectGraph.nodes[name].data.root), ...included];
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

function walk(workspaceRoot: string, from: string, visit: (path: string, emptyDirectory: boolean) => void): void {
  const stat = lstatSync(join(workspaceRoot, from), { throwIfNoEntry: false });
  if (!stat) return;
  if (!stat.isDirectory()) return visit(from, false);
  const names = readdirSync(join(workspaceRoot, from));
  if (names.length === 0) return visit(from, true);
  for (const name of names) {
    if (name === '.git' || name === 'node_modules') continue;
    walk(workspaceRoot, posix.join(from === '.' ? '' : from, name), visit);
  }
}
