import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { ExecutorContext } from '@nx/devkit';
import { now } from './contender';
import { driven } from './driver';

export interface Task {
  /** The built plugin. */
  dist: string;
  executor: string;
  workspace: string;
  options: object;
  /** A signal ends it, and nothing else. */
  endless?: boolean;
}

/** What Nx does in the process that it runs an executor in, with the graph of a workspace of one project. */
driven(async ({ dist, executor, workspace, options, endless = false }: Task) => {
  // Nx runs an executor in a process that has loaded these for itself (nx/dist/bin/run-executor.js).
  for (const module of ['nx/src/project-graph/project-graph', 'nx/src/utils/workspace-context'])
    createRequire(join(dist, 'index.js'))(module);
  const loaded = now();
  const { default: execute } = createRequire(__filename)(join(dist, 'executors', executor, 'executor.js')) as {
    default: (options: object, context: ExecutorContext) => Promise<{ success: boolean }>;
  };
  const loading = now() - loaded;
  const data = { name: 'model', root: 'model', targets: { [executor]: { executor: `nx-ec2:${executor}` } } };
  const context: ExecutorContext = {
    root: workspace,
    cwd: workspace,
    isVerbose: false,
    projectName: 'model',
    targetName: executor,
    nxJsonConfiguration: {},
    projectsConfigurations: { version: 2, projects: { model: data } },
    projectGraph: { nodes: { model: { type: 'app', name: 'model', data } }, dependencies: { model: [] } },
  };
  const begun = now();
  const { success } = await execute(options, context);
  if (success === endless) throw new Error(`the executor ${success ? 'ended by itself' : 'did not succeed'}`);
  return { begun, loading };
});
