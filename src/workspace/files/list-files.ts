import type { ProjectGraph } from '@nx/devkit';
import { listByWalk, type WalkedFiles } from '../listing/list-by-walk';
import { projectFileMap } from './file-map';
import type { ListFiles } from './types';

export interface Listed {
  paths: readonly string[];
  has(path: string): boolean;
  /** What is known of them if they were not listed by Nx. */
  walked: WalkedFiles | null;
}

/** As Nx knows them: git-ignored files are not among them. */
const listByNx: ListFiles = async (projectGraph, projects) => {
  const files = await projectFileMap(projectGraph);
  return projects.flatMap((project) => files[project] ?? []).map(({ file }) => file);
};

/** The files of projects as Nx would list them. @param list who lists them; absent: a walk, or Nx where that can't. */
export async function listFiles(
  workspaceRoot: string,
  projectGraph: ProjectGraph,
  projects: readonly string[],
  list?: ListFiles,
): Promise<Listed> {
  const walked = list ? null : await walk(workspaceRoot, projectGraph, projects);
  if (walked) return { paths: [...walked.stats.keys()], has: (path) => walked.stats.has(path), walked };
  const paths = await (list ?? listByNx)(projectGraph, projects);
  const all = new Set(paths);
  return { paths, has: (path) => all.has(path), walked: null };
}

function walk(
  workspaceRoot: string,
  { nodes }: ProjectGraph,
  projects: readonly string[],
): Promise<WalkedFiles | null> {
  const rootOf = (project: string) => nodes[project].data.root.replace(/\/$/, '') || '.';
  // Of two projects with one root, Nx takes the last.
  const owners = new Map(Object.keys(nodes).map((name) => [rootOf(name), name]));
  const roots = projects.filter((name) => owners.get(rootOf(name)) === name).map(rootOf);
  return listByWalk(workspaceRoot, roots, new Set(owners.keys()));
}
