/* eslint-disable @typescript-eslint/no-require-imports */
import type * as Devkit from '@nx/devkit';

/**
 * Modules of Nx that @nx/devkit passes on, loaded by themselves: the whole of devkit takes longer to load than all else that a
 * warm command does. Where Nx has moved one, devkit is loaded instead.
 */
export const nxLibrary = {
  projectGraph: (): Pick<typeof Devkit, 'createProjectGraphAsync' | 'readCachedProjectGraph'> =>
    load(() => require('nx/src/project-graph/project-graph')),
  fileMap: (): Pick<typeof Devkit, 'createProjectFileMapUsingProjectGraph'> =>
    load(() => require('nx/src/project-graph/file-map-utils')),
  workspaceRoot: (): string =>
    load<Pick<typeof Devkit, 'workspaceRoot'>>(() => require('nx/src/utils/workspace-root')).workspaceRoot,
};

function load<T>(module: () => unknown): T {
  try {
    return module() as T;
  } catch (error) {
    if (!['MODULE_NOT_FOUND', 'ERR_PACKAGE_PATH_NOT_EXPORTED'].includes((error as NodeJS.ErrnoException).code ?? ''))
      throw error;
    return require('@nx/devkit') as T;
  }
}
