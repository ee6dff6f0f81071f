import type { FoundFiles } from './types';
import type { ProjectGraph } from '@nx/devkit';
import { type GitFiles, nxIgnored, linkFault } from '../git/git-files';
import { join, posix } from 'node:path';
import { lookUp } from '../look-up';
import { printablePath, sanitizeForTerminal } from '../../report/terminal-text';
import { formatCount } from '../../report/units';
import { readdirSync } from 'node:fs';
import type { Included } from './included';

/** Paths that git has of the projects and Nx does not list. */
export interface NotListed {
  send: string[];
  leftOut: FoundFiles['leftOut'];
  /** Of `leftOut`, the paths that are named in each run, since no setting leaves them out. */
  named: string[];
  /** The number of files of `leftOut` by the project inside that owns them. */
  nested: Map<string, number>;
}

export async function compareWithGit(
  workspaceRoot: string,
  of: {
    projectGraph: ProjectGraph;
    projects: string[];
    listed: { has(path: string): boolean };
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
  const owner = ownerOf(of.projectGraph);
  const missing: string[] = [];
  for (const path of [...git.tracked, ...git.others]) {
    // Nx lists what a sparse checkout leaves out as well.
    if (of.listed.has(path) && !git.skipped.has(path)) continue;
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
    if (!stat) {
      const isWanted = git.skipped.has(path) && !ignored.has(path) && !of.found.excluded(path);
      if (isWanted) omit(path, 'not checked out: git sparse-checkout add');
    } else if (ignored.has(path)) omit(path, '.nxignore', false);
    else if (stat.isSymbolicLink()) {
      const fault = linkFault(workspaceRoot, path);
      if (fault) omit(path, fault);
      else send.push(path);
    } else if (stat.isFile() && git.tracked.has(path)) send.push(path);
  }
  return { send, leftOut, named, nested };
}

export function describeNested(projectName: string, nested: NotListed['nested']): string {
  const count = [...nested.values()].reduce((sum, each) => sum + each, 0);
  const few = [...nested.keys()].sort().slice(0, 5).map(printablePath).join(', ');
  return `not sent: ${formatCount(count, 'file')} of ${formatCount(nested.size, 'project')} in directories of ${sanitizeForTerminal(projectName)} or its dependencies (${few}${nested.size > 5 ? ', …' : ''}), on which it does not depend. To send them, add "implicitDependencies" in project.json or "sync.include". To silence this warning, add their directories to "sync.exclude".`;
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

function isEmptyDirectory(path: string): boolean {
  try {
    return readdirSync(path).length === 0;
  } catch {
    return false;
  }
}
