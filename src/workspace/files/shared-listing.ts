import { lstatSync, readdirSync, type Stats } from 'node:fs';
import { join, posix } from 'node:path';
import type { ProjectGraph } from '@nx/devkit';
import { nxLibrary } from '../../system/nx-library';
import { readCache, writeCache } from '../../system/cache-file';
import { stateDirectory } from '../state';
import { NEVER } from './never-sent';

/** What of Nx's project graph and file map decides which files travel. */
export interface Listing {
  projectGraph: ProjectGraph;
  /** Workspace-relative, by project. */
  files: Record<string, string[]>;
}

interface Stored extends Listing {
  v: 1;
  /** ms since the epoch */
  at: number;
  /** What `lstat` said of each place that a new file or another rule would change. */
  places: [path: string, stamp: string][];
}

/**
 * Loading Nx's library and listing a workspace takes some tenths of a second of processor time, and Nx asks for the
 * key of each project by a process of its own. So a list serves all that ask within this time, ms, as long as nothing
 * that decides it has changed. What no stamp shows is a first file deep in a directory that was ignored or empty.
 */
const SHARED_MS = 20_000;
/** Files of the workspace's root that decide what Nx and git list. */
const ROOT_RULES = ['nx.json', 'package.json', '.gitignore', '.nxignore', '.git/index', '.git/info/exclude'];
/** Files anywhere that decide which projects there are, and which of their files are listed. */
const RULES = /(^|\/)(\.gitignore|\.nxignore|project\.json|package\.json|pyproject\.toml|ec2\.config\.json)$/;

/**
 * The projects and their files, as Nx lists them now.
 * @param list asks Nx, which looks at the files once in a process.
 */
export async function sharedListing(workspaceRoot: string, list = listByNx): Promise<Listing> {
  const file = join(stateDirectory(workspaceRoot), 'listing.json');
  const known = read(file);
  if (known && isCurrent(workspaceRoot, known)) return known;
  const at = Date.now();
  const listing = await list(workspaceRoot);
  const places = placesOf(workspaceRoot, listing).map((path): [string, string] => [path, stamp(workspaceRoot, path)]);
  writeCache(file, JSON.stringify({ v: 1, at, places, ...listing } satisfies Stored));
  return listing;
}

function isCurrent(workspaceRoot: string, { at, places }: Stored): boolean {
  const age = Date.now() - at;
  return age >= 0 && age < SHARED_MS && places.every(([path, was]) => stamp(workspaceRoot, path) === was);
}

async function listByNx(workspaceRoot: string): Promise<Listing> {
  // Nx's daemon may be what waits for this process, so it is not asked.
  process.env.NX_DAEMON = 'false';
  process.env.NX_WORKSPACE_ROOT_PATH = workspaceRoot;
  const graphs = nxLibrary.projectGraph();
  let projectGraph: ProjectGraph;
  try {
    // Nx has written it before it asks for keys.
    projectGraph = graphs.readCachedProjectGraph();
  } catch {
    projectGraph = await graphs.createProjectGraphAsync({ exitOnError: false });
  }
  const map = await nxLibrary.fileMap().createProjectFileMapUsingProjectGraph(projectGraph);
  const nodes = Object.entries(projectGraph.nodes).map(([name, { type, data }]) => [
    name,
    { name, type, data: { root: data.root } },
  ]);
  const dependencies = Object.entries(projectGraph.dependencies).filter(([name]) => name in projectGraph.nodes);
  return {
    projectGraph: { nodes: Object.fromEntries(nodes), dependencies: Object.fromEntries(dependencies) },
    files: Object.fromEntries(Object.entries(map).map(([name, files]) => [name, files.map(({ file }) => file)])),
  };
}

function read(file: string): Stored | null {
  return readCache(file, (bytes) => {
    const stored = JSON.parse(bytes.toString()) as Stored;
    const { places, files } = stored;
    const valid = stored.v === 1 && stored.projectGraph.nodes && stored.projectGraph.dependencies;
    const listed = Object.values(files).every(
      (each) => Array.isArray(each) && each.every((path) => typeof path === 'string'),
    );
    const stamped =
      places.length > 0 && places.every((each) => each.length === 2 && each.every((text) => typeof text === 'string'));
    return valid && listed && stamped ? stored : null;
  });
}

/** The directories in which a new file would appear, those without a file that is listed included, and the rules. */
function placesOf(workspaceRoot: string, { files }: Listing): string[] {
  const directories = new Set(['.']);
  const rules: string[] = [];
  for (const path of Object.values(files).flat()) {
    if (RULES.test(path)) rules.push(path);
    for (let at = posix.dirname(path); !directories.has(at); at = posix.dirname(at)) directories.add(at);
  }
  const others = [...directories].flatMap((directory) => subdirectories(workspaceRoot, directory));
  return [...new Set([...directories, ...others, ...rules, ...ROOT_RULES])];
}

function stamp(workspaceRoot: string, path: string): string {
  let stat: Stats | undefined;
  try {
    stat = lstatSync(join(workspaceRoot, path), { throwIfNoEntry: false });
  } catch {
    // In a worktree or a submodule of git, `.git` is a file: nothing is below it.
  }
  return stat ? `${stat.ino} ${stat.mtimeMs} ${stat.ctimeMs} ${stat.isDirectory() ? '' : stat.size}` : '';
}

function subdirectories(workspaceRoot: string, directory: string): string[] {
  try {
    return readdirSync(join(workspaceRoot, directory), { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && !NEVER.has(entry.name))
      .map(({ name }) => posix.join(directory, name));
  } catch {
    // It disappeared since it was listed.
    return [];
  }
}
