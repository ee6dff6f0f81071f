import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ProjectGraph } from '@nx/devkit';
import { Aws } from '../aws/clients';
import { resolveConnection } from '../config/connection';
import { withOrigins } from '../config/sources/setting-origins';
import { Problem } from '../report/problem';
import { sanitizeForTerminal } from '../report/terminal-text';
import { readRecord } from '../run/record/record';
import { slug } from '../run/record/run-id';
import type { RunInStore } from '../run/compare/runs';
import { StoreKeys } from '../store/keys';
import { Store } from '../store/store';
import { nxLibrary } from '../system/nx-library';
import { readNxJson } from '../workspace/nx-json';

/** What says where a run is, where its id does not. */
export interface WhereOptions {
  project?: string;
  bucket?: string;
  prefix?: string;
  region?: string;
  profile?: string;
}

export interface NamedProject {
  name: string;
  /** Workspace-relative; absent: the workspace does not know it. */
  root?: string;
}

const ID = /^\d{8}-\d{6}-([a-z0-9-]{1,60})-[a-z2-7]{6}$/;

/**
 * Whether a run is of a project, by the name in its id.
 * @throws Problem where that is not a run id.
 */
export function isOf(run: string, { name }: NamedProject): boolean {
  const own = ID.exec(run)?.[1];
  if (own === undefined)
    throw new Problem('RUN_ID', `${sanitizeForTerminal(run)} is not a run id.`, {
      next: 'A run id looks like 20261124-043012-digits-x7k2qa. To list them: nx run <project>:remote-status',
    });
  return slug(name) === own;
}

/**
 * Finds a run by its id alone: its project by the name in the id, the store by what is configured for that project.
 * @param use what is done with it, before the connection is closed.
 */
export async function withRun<T>(
  run: string,
  options: WhereOptions,
  use: (found: RunInStore) => Promise<T>,
): Promise<T> {
  const { project, ...given } = options;
  const workspaceRoot = nxLibrary.workspaceRoot();
  isOf(run, { name: '' });
  const found = await workspaceProjects((each) => (project === undefined ? isOf(run, each) : each.name === project));
  // A project that was removed from the workspace may still have runs.
  const projects = found.length || project === undefined ? found : [{ name: project }];
  if (!projects.length)
    throw new Problem('NO_PROJECT', `No project of this workspace matches the name in ${run}.`, {
      next: 'Name the project with --project, and its bucket with --bucket if nx.json does not set it.',
    });
  for (const { name, root } of projects as NamedProject[]) {
    const connection = resolveConnection({
      workspaceRoot,
      nxJson: readNxJson(workspaceRoot),
      projectRoot: root,
      options: given,
    });
    const aws = new Aws(connection);
    try {
      await aws.region();
      const [store, keys] = [new Store(aws, connection), new StoreKeys(connection.prefix, name)];
      const read = await readRecord(store, keys, run);
      if (read) return await use({ store, keys, record: read.record });
    } catch (error) {
      throw withOrigins(error, connection.sources ?? []);
    } finally {
      aws.close();
    }
  }
  const names = projects.map(({ name }) => sanitizeForTerminal(name)).join(', ');
  throw new Problem('NO_RUN', `There is no run ${run} of ${names} in the store.`, {
    next: '"nx-ec2 store prune" may have removed it, or it belongs to another project (--project) or store (--bucket, --prefix).',
  });
}

/** The projects that match. The project graph is created again only if none matches in Nx's cached one. */
export async function workspaceProjects(fits: (project: NamedProject) => boolean): Promise<NamedProject[]> {
  if (!existsSync(join(nxLibrary.workspaceRoot(), 'nx.json'))) return [];
  const fitting = ({ nodes }: ProjectGraph) =>
    Object.values(nodes)
      .map(({ name, data }) => ({ name, root: data.root }))
      .filter(fits);
  const remembered = rememberedGraph();
  const found = remembered ? fitting(remembered) : [];
  return found.length ? found : fitting(await nxLibrary.projectGraph().createProjectGraphAsync());
}

function rememberedGraph(): ProjectGraph | null {
  try {
    return nxLibrary.projectGraph().readCachedProjectGraph();
  } catch {
    return null;
  }
}
