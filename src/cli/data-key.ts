import { join } from 'node:path';
import { readJsonFile, workspaceRoot, type NxJsonConfiguration } from '@nx/devkit';
import { declaredConfiguration, pluginOptions } from '../config/configuration';
import { scan } from '../snapshot/scan';
import { findIncluded } from '../workspace/files';

/** Prints a hash of what `sync.include` names in a project: names, contents, executable bits. */
export function dataKey(projectRoot: string): void {
  const plugin = pluginOptions(readJsonFile<NxJsonConfiguration>(join(workspaceRoot, 'nx.json')));
  const { sync, train } = declaredConfiguration(plugin, workspaceRoot, projectRoot);
  const { include = [], exclude = [] } = sync as { include?: string[]; exclude?: string[] };
  const { outputDir = 'artifacts' } = train as { outputDir?: string };
  const found = findIncluded({ workspaceRoot, projectRoot, include, exclude, outputDir });
  const { snapshot } = scan({
    workspaceRoot,
    paths: [...found.paths].sort(),
    emptyDirectories: [...found.emptyDirectories].sort(),
  });
  console.log(snapshot.id);
}
