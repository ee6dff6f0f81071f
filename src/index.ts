import { dirname } from 'node:path';
import { createNodesFromFiles, type CreateNodesV2 } from '@nx/devkit';
import { CONFIG_FILE, readConfigFile } from './config/configuration';
import { inferTargets, type TargetNames } from './config/targets';

export interface NxEc2PluginOptions extends TargetNames {
  [configuration: string]: unknown;
}

/** Infers the `remote-*` targets of every project that has an ec2.config.json. */
export const createNodesV2: CreateNodesV2<NxEc2PluginOptions> = [
  `**/${CONFIG_FILE}`,
  (files, options, context) =>
    createNodesFromFiles(
      (file, given, { workspaceRoot }) => {
        const root = dirname(file);
        const values = { ...given } as NxEc2PluginOptions;
        const own = readConfigFile(workspaceRoot, root);
        const section = (key: string) => ({ ...(values[key] as object), ...(own[key] as object) });
        const merged = { ...values, ...own, sync: section('sync'), train: section('train') };
        return { projects: { [root]: { targets: inferTargets(workspaceRoot, merged, values) } } };
      },
      files,
      options,
      context,
    ),
];

export const createNodes = createNodesV2;
