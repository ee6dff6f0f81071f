import { declaredConfiguration, readConfigFile } from '../config/sources/config-file';
import { findConfigurationProblem } from '../config/configuration';
import { pluginOptions } from '../config/sources/plugin-options';
import { enforcePolicy, policyDigest } from '../config/policy';
import { settingsDigest } from '../config/targets/result-settings';
import { writtenPaths, type WrittenOutput } from '../config/settings/outputs';
import { Aws } from '../aws/clients';
import type { AwsSettings } from '../aws/credentials';
import { Problem } from '../report/problem';
import { Printer } from '../report/printer';
import { scan } from '../snapshot/scan';
import { dataVersion } from '../store/data-version';
import { environmentChoice } from '../config/environment/environment-choice';
import { findFiles } from '../workspace/files/find-files';
import { keyChange } from '../workspace/key-change';
import { reportKey } from '../workspace/key-log';
import { readNxJson } from '../workspace/nx-json';
import { sharedListing } from '../workspace/files/shared-listing';
import { scanCache } from '../workspace/state';

/**
 * Prints the key of a project. An error is printed in its place: Nx would else end every command that computes a hash,
 * and the target itself says what is wrong.
 */
export async function cacheKey(
  projectRoot: string,
  workspaceRoot = process.cwd(),
  listing = sharedListing,
  printer = new Printer({ plain: true }),
): Promise<void> {
  try {
    for await (const line of keyOf(projectRoot, workspaceRoot, listing)) printer.line(line);
  } catch (error) {
    printer.line(`error: ${(error as Error).message}`);
  }
}

/**
 * Yields the identity of a training: the digest of its settings, the id of the snapshot of what it is sent, the
 * version of each data in S3 that is part of the cache key, the digest of the policies, and what `--rerun` changed last. Nx makes it part of the key of remote-train, and the
 * executor, which finds it again in the key log, compares it with what it sends.
 */
async function* keyOf(
  projectRoot: string,
  workspaceRoot: string,
  listing: typeof sharedListing,
): AsyncGenerator<string> {
  const at = Date.now();
  const plugin = pluginOptions(readNxJson(workspaceRoot), projectRoot);
  const declared = declaredConfiguration(plugin, readConfigFile(workspaceRoot, projectRoot));
  const settings = settingsDigest(declared);
  yield settings;
  const sync = declared.sync as { include?: string[]; exclude?: string[]; dependencies?: boolean };
  const train = declared.train as {
    outputs?: WrittenOutput[];
    checkpoints?: { paths?: string[] };
    datasets?: { source: string; cacheKey?: boolean }[];
  };
  const { projectGraph, files } = await listing(workspaceRoot);
  const projectName = Object.keys(projectGraph.nodes).find(
    (name) => projectGraph.nodes[name].data.root === projectRoot,
  );
  if (projectName === undefined)
    throw new Problem('PROJECT_MISSING', `Nx has no project in ${projectRoot}.`, { next: 'nx show projects' });
  const found = await findFiles(
    {
      workspaceRoot,
      projectGraph,
      projectName,
      include: sync.include ?? [],
      exclude: sync.exclude ?? [],
      dependencies: sync.dependencies ?? true,
      outputs: writtenPaths(train),
      environment: environmentChoice(declared.train),
    },
    async (_, projects) => projects.flatMap((project) => files[project] ?? []),
  );
  const { snapshot } = await scan({ workspaceRoot, ...found, cache: scanCache(workspaceRoot, projectName) });
  const datasets = (train.datasets ?? []).filter(({ cacheKey }) => cacheKey);
  const versions: string[] = [];
  if (datasets.length > 0) {
    // Nx asks for the key before the target could refuse its configuration.
    const problem = findConfigurationProblem(plugin, workspaceRoot, projectRoot);
    if (problem) throw problem;
    const { region, profile, roleArn } = declared as AwsSettings;
    const asked = { region, profile, roleArn };
    enforcePolicy({ ...asked, prefix: '', projectRoot, train: { datasets } }, workspaceRoot, process.env);
    versions.push(...(await dataVersions(asked, datasets)));
  }
  const policy = policyDigest(process.env, workspaceRoot);
  reportKey(workspaceRoot, projectRoot, { at, settings, snapshot: snapshot.id, versions });
  const change = keyChange(workspaceRoot, projectRoot);
  yield* [snapshot.id, ...versions, ...(policy ? [`policy ${policy}`] : []), ...(change ? [change] : [])];
}

/** Data that is part of the key, each with its version. */
async function dataVersions(asked: AwsSettings, data: readonly { source: string }[]): Promise<string[]> {
  const aws = new Aws(asked);
  try {
    return await Promise.all(data.map(async ({ source }) => `${source} ${await dataVersion(aws, source)}`));
  } finally {
    aws.close();
  }
}
