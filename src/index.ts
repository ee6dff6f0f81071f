import { dirname } from 'node:path';
import type * as Devkit from '@nx/devkit';
import type { CreateNodesContextV2, CreateNodesResult, CreateNodesV2 } from '@nx/devkit';
import { CONFIG_FILE, declaredConfiguration, readConfigFile } from './config/sources/config-file';
import { findConfigurationProblem } from './config/configuration';
import { pluginOptionsWithNames, withoutTargetNames } from './config/sources/plugin-options';
import { inferTargets, type TargetNames } from './config/targets/targets';

export interface NxEc2PluginOptions extends TargetNames {
  [configuration: string]: unknown;
}

/** Infers the `remote-*` targets of every project that has an ec2.config.json. */
export const createNodes: CreateNodesV2<NxEc2PluginOptions> = [
  `**/${CONFIG_FILE}`,
  (files, options, context) => {
    try {
      return files.map((file) => [file, nodesOf(file, context)]);
    } catch {
      // Devkit tells Nx which files failed. It takes longer to load than all else here.
      // eslint-disable-next-line @typescript-eslint/no-require-imports
      const { createNodesFromFiles } = require('@nx/devkit') as typeof Devkit;
      return createNodesFromFiles((file) => nodesOf(file, context), files, options, context);
    }
  },
];

function nodesOf(file: string, { workspaceRoot, nxJsonConfiguration = {} }: CreateNodesContextV2): CreateNodesResult {
  const root = dirname(file);
  // Nx hands over the options of one entry in nx.json; several may apply to the project, as the executors know.
  const values: NxEc2PluginOptions = pluginOptionsWithNames(nxJsonConfiguration, root);
  const plugin = withoutTargetNames(values);
  const problem = findConfigurationProblem(plugin, workspaceRoot, root);
  // A bad file is this project's own: its targets are inferred without it, and say what is wrong when they run.
  const merged = problem ? {} : declaredConfiguration(plugin, readConfigFile(workspaceRoot, root));
  const targets = inferTargets({
    workspaceRoot,
    projectRoot: root,
    merged,
    isValid: problem === null,
    names: values,
    namedInput: nxJsonConfiguration.namedInputs?.training !== undefined,
  });
  const metadata = { targetGroups: { 'nx-ec2': Object.keys(targets) } };
  return { projects: { [root]: { targets, metadata } } };
}

/** The old name of `createNodes`. */
export const createNodesV2 = createNodes;
