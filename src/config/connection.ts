import { posix } from 'node:path';
import { z } from 'zod';
import { Problem } from '../report/problem';
import { CONFIG_FILE, pluginOptions, readConfigFile, type Configuration } from './configuration';
import { enforcePolicy } from './policy';
import { connectionShape } from './schema';

/** What leads to a store, without a project. */
export type Connection = Pick<
  Configuration,
  'region' | 'profile' | 'roleArn' | 'bucket' | 'prefix' | 'bucketOwner' | 'kmsKeyId'
>;

const { region, profile, roleArn, bucket, prefix, bucketOwner, kmsKeyId } = connectionShape;
const schema = z.object({ region, profile, roleArn, bucket, prefix, bucketOwner, kmsKeyId });

/**
 * The connection that the plugin's options in nx.json name, under that of a project, under that of a command line.
 * @throws Problem that names the place, the key and what is allowed.
 */
export function resolveConnection(input: {
  workspaceRoot: string;
  nxJson: { plugins?: unknown[] };
  /** Workspace-relative: of the project whose `ec2.config.json` counts; absent: none does. */
  projectRoot?: string;
  /** Options of the command line; undefined: not given. */
  options: Partial<Record<keyof Connection, string | undefined>>;
  environment?: NodeJS.ProcessEnv;
}): Connection {
  const given = Object.fromEntries(Object.entries(input.options).filter(([, value]) => value !== undefined));
  const { workspaceRoot, projectRoot } = input;
  const own = projectRoot === undefined ? {} : readConfigFile(workspaceRoot, projectRoot);
  const result = schema.safeParse({ ...pluginOptions(input.nxJson), ...own, ...given });
  if (!result.success) {
    const where = (key: string) => (key in own ? posix.join(projectRoot!, CONFIG_FILE) : 'nx.json');
    const lines = result.error.issues.map(({ path: [key], message }) =>
      String(key) in given
        ? `  --${String(key)}: ${message}`
        : `  "${String(key)}" in ${where(String(key))}: ${message}`,
    );
    throw new Problem('CONFIG_INVALID', `The connection is not valid:\n${lines.join('\n')}`);
  }
  if (result.data.bucket === undefined)
    throw new Problem('CONFIG_MISSING', 'No bucket is named.', {
      next: 'Set "bucket" in the options of nx-ec2 in nx.json, run this in the workspace, or give --bucket.',
    });
  const connection = { ...result.data, bucket: result.data.bucket };
  enforcePolicy(connection, input.workspaceRoot, input.environment ?? process.env);
  return connection;
}
