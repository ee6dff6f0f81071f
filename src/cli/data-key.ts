import { join } from 'node:path';
import { readJsonFile, workspaceRoot as currentWorkspace, type NxJsonConfiguration } from '@nx/devkit';
import { declaredConfiguration, pluginOptions } from '../config/configuration';
import { Aws, type AwsSettings } from '../aws/clients';
import { scan } from '../snapshot/scan';
import { dataVersion } from '../store/data-version';
import { findIncluded } from '../workspace/files';
import { stateDirectory } from '../workspace/state';

/**
 * Prints a hash of what `sync.include` names in a project (names, contents, executable bits), and the version of each
 * data in S3 that is to be part of the cache key.
 */
export async function dataKey(projectRoot: string, workspaceRoot = currentWorkspace): Promise<void> {
  const plugin = pluginOptions(readJsonFile<NxJsonConfiguration>(join(workspaceRoot, 'nx.json')));
  const declared = declaredConfiguration(plugin, workspaceRoot, projectRoot);
  const { sync, train } = declared;
  const { include = [], exclude = [] } = sync as { include?: string[]; exclude?: string[] };
  const { outputDir = 'artifacts', data = [] } = train as {
    outputDir?: string;
    data?: { source: string; key?: boolean }[];
  };
  const found = findIncluded({ workspaceRoot, projectRoot, include, exclude, outputDir });
  const { snapshot } = await scan({
    workspaceRoot,
    paths: [...found.paths].sort(),
    emptyDirectories: [...found.emptyDirectories].sort(),
    cache: join(stateDirectory(workspaceRoot), 'scans', `data-${encodeURIComponent(projectRoot)}`),
  });
  console.log(snapshot.id);
  const keyed = data.filter(({ key }) => key);
  if (!keyed.length) return;
  const { region, profile, roleArn } = declared as AwsSettings;
  const aws = new Aws({ region, profile, roleArn });
  try {
    for (const { source } of keyed) console.log(`${source} ${await dataVersion(aws, source)}`);
  } finally {
    aws.close();
  }
}
