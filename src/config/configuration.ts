import { posix } from 'node:path';
import { fileProblem } from '../report/file-problem';
import { Problem } from '../report/problem';
import { CONFIG_FILE, declaredConfiguration, readConfigFile } from './sources/config-file';
import { merge, type Raw } from './schema/merge';
import { pluginOptions } from './sources/plugin-options';
import { enforcePolicy } from './policy';
import { PLUGIN_OPTIONS, withOrigins, type SettingSource } from './sources/setting-origins';
import { settingsDigest } from './targets/result-settings';
import { environmentChoice } from './environment/environment-choice';
import type { Configuration, ConfigurationInput } from './settings/types';
import { executorOptions } from './schema/executor-options';
import { trainOptions, optionNames, isTraining } from './schema/target-options';
import { validate } from './schema/validate';
import { missing } from './settings/missing-setting';
import { instancesOf } from './settings/instance-settings';
import { trainOf } from './settings/train-settings';
import { assertNodes, readNodes } from './settings/nodes';

/**
 * One validated object of, highest first: the target's options, ec2.config.json, the plugin's options in nx.json.
 * @throws Problem that names the place, the key and what is allowed.
 */
export function resolveConfiguration(input: ConfigurationInput): Configuration {
  const sources = {
    plugin: { where: PLUGIN_OPTIONS, values: pluginOptions(input.nxJson, input.projectRoot) },
    own: {
      where: posix.join(input.projectRoot, CONFIG_FILE),
      values: readConfigFile(input.workspaceRoot, input.projectRoot),
    },
    options: { where: `the options of ${input.projectName}:${input.target}`, values: optionValues(input) },
  };
  try {
    return configurationOf(input, sources);
  } catch (error) {
    throw withOrigins(error, [sources.options, sources.own, sources.plugin]);
  }
}

function configurationOf(
  input: ConfigurationInput,
  { plugin, own, options }: Record<'plugin' | 'own' | 'options', { where: string; values: Raw }>,
): Configuration {
  let merged: Raw = {};
  for (const { where, values } of [plugin, own, options]) {
    validate(values, where, values === options.values ? optionNames(input.target) : undefined);
    merged = merge(merged, values);
  }
  const value = validate(merged, [plugin, own, options].map(({ where }) => where).join(', '));
  if (!value.bucket) throw missing(input, 'bucket', 'the name of the S3 bucket that holds the store');
  if (value.instance === undefined)
    throw missing(input, 'instance', 'an instance id ("i-…"), a Name, { "tag": { … } }, or { "type": "…" }');
  const declared = declaredConfiguration(plugin.values, own.values);
  const instances = instancesOf(input, value.instance, readNodes(value.train.nodes).nodes);
  const configuration: Configuration = {
    ...value,
    projectRoot: input.projectRoot,
    sources: [options, own, plugin],
    declaredEnvironment: environmentChoice(declared.train),
    declaredSettings: settingsDigest(declared),
    bucket: value.bucket,
    ...instances,
    train: trainOf(input, value.train, 'launchSpec' in instances.instance && !!instances.instance.launchSpec.pool),
  };
  delete (configuration as { $schema?: string }).$schema;
  if (isTraining(input.target)) assertNodes(configuration);
  enforcePolicy(configuration, input.workspaceRoot, input.environment ?? process.env);
  return configuration;
}

function optionValues(input: ConfigurationInput): Raw {
  const values: Raw = {};
  const train: Raw = {};
  for (const [key, value] of Object.entries(input.options)) {
    if (value === undefined || key === '__unparsed__' || key === '_' || executorOptions(input.target).includes(key))
      continue;
    if (trainOptions(input.target).includes(key)) train[key] = value;
    else values[key] = value;
  }
  if (Object.keys(train).length) values.train = merge((values.train as Raw) ?? {}, train);
  return values;
}

/**
 * Checks what the files say of a project, without a command line: called when the project graph is made, so that a
 * cache hit can't hide a wrong value of a key that is not part of the cache key.
 * @returns the first problem; null: none. A key that is not set is none, since the command line may set it.
 */
export function findConfigurationProblem(plugin: Raw, workspaceRoot: string, projectRoot: string): Problem | null {
  const input: ConfigurationInput = {
    workspaceRoot,
    projectRoot,
    projectName: projectRoot,
    nxJson: {},
    options: {},
    target: 'remote-sync',
  };
  const where = posix.join(projectRoot, CONFIG_FILE);
  const sources: SettingSource[] = [{ where: PLUGIN_OPTIONS, values: plugin }];
  try {
    const own = readConfigFile(workspaceRoot, projectRoot);
    sources.unshift({ where, values: own });
    validate(plugin, PLUGIN_OPTIONS);
    validate(own, where);
    const value = validate(merge(plugin, own), where);
    if (value.instance !== undefined) instancesOf(input, value.instance, readNodes(value.train.nodes).nodes);
    trainOf(input, value.train);
    return null;
  } catch (error) {
    const problem = error instanceof Problem ? error : fileProblem(error);
    if (!problem) throw error;
    return problem.code === 'CONFIG_MISSING' ? null : withOrigins(problem, sources);
  }
}
