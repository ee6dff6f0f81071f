import type { ProjectFileMap, ProjectGraph } from '@nx/devkit';
import { nxLibrary } from '../../system/nx-library';

/** Variables that Nx sets for one command or one task, and that its daemon takes for a change of the environment. */
const TASK_VARIABLES = ['NX_WORKSPACE_ROOT', 'LERNA_PACKAGE_NAME', 'NX_INVOCATION_ROOT_PID'];

/**
 * The files of each project as Nx knows them. Where Nx's daemon is asked, it gets the environment that `nx` itself has:
 * with another one it would forget its project graph, and the next command of Nx would wait for a new one.
 */
export async function projectFileMap(projectGraph: ProjectGraph): Promise<ProjectFileMap> {
  const hidden = TASK_VARIABLES.flatMap((name): [string, string][] => {
    const value = process.env[name];
    delete process.env[name];
    return value === undefined ? [] : [[name, value]];
  });
  try {
    return await nxLibrary.fileMap().createProjectFileMapUsingProjectGraph(projectGraph);
  } finally {
    for (const [name, value] of hidden) process.env[name] = value;
  }
}
