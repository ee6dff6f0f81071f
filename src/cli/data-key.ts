import { join } from 'node:path';
import { readJsonFile, workspaceRoot, type NxJsonConfiguration } from '@nx/devkit';
import { declaredConfiguration, pluginOptions } from '../config/configuration';
import { scan } from '../snapshot/scan';
import { findIncluded } from '../workspace/files';
import { stateDirectory } from '../workspace/state';

/** Prints a hash of what `sync.include` names in a project: names, contents, executable bits. */
export async function dataKey(projectRoot: string): Promise<void> {
  const plugin = pluginOptions(readJsonFile<NxJsonConfiguration>(join(workspaceRoot, 'nx.json')));
  const { sync, train } = declaredConfiguration(plugin, workspaceRoot, projectRoot);
  const { include = [], exclude = [] } = sync as { include?: string[]; exclude?: string[] };
  const { outputDir = 'artifacts' } = train as { outputDir?: string };
  const found = findIncluded({ workspaceRoot, projectRoot, include, exclude, outputDir });
  const { snapshot } = await scan({
    workspaceRoot,
    paths: [...found.paths].sort(),
    emptyDirectories: [...found.emptyDirectories].sort(),
    cache: join(stateDirectory(workspaceRoot), 'scans', `data-${encodeURIComponent(projectRoot)}`),
  });
  console.log(snapshot.id);
}
