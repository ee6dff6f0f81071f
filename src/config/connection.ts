import { posix } from 'node:path';
import { z } from 'zod';
import { Problem } from '../report/problem';
import { sanitizeForTerminal } from '../report/terminal-text';
import { CONFIG_FILE, readConfigFile } from './sources/config-file';
import type { Raw } from './schema/merge';
import { allPluginOptions, pluginOptions } from './sources/plugin-options';
import { enforcePolicy } from './policy';
import { connectionShape } from './schema/schema';
import { PLUGIN_OPTIONS, withOrigins, type SettingSource } from './sources/setting-origins';
import type { Configuration } from './settings/types';

/** What leads to a store, without a project. */
export type Connection = Pick<
  Configuration,
  'region' | 'profile' | 'roleArn' | 'bucket' | 'prefix' | 'bucketOwner' | 'kmsKeyId' | 'sources'
>;

const { region, profile, roleArn, bucket, prefix, bucketOwner, kmsKeyId } = connectionShape;
const schema = z.object({ region, profile, roleArn, bucket, prefix, bucketOwner, kmsKeyId });

const KEYS = Object.keys(schema.shape) as ConnectionKey[];
/** The keys that lead to an account and a region alone. */
export const ACCOUNT_KEYS = ['region', 'profile', 'roleArn'] as const;

export type ConnectionKey = Exclude<keyof Connection, 'sources'>;

/** What leads to an account and a region; a store only where one is named. */
export type Place = Omit<Connection, 'bucket'> & { bucket?: string };

interface ConnectionInput {
  workspaceRoot: string;
  nxJson: { plugins?: unknown[] };
  /** Workspace-relative: of the project whose `ec2.config.json` counts; absent: none does. */
  projectRoot?: string;
  /** Options of the command line; undefined: not given. */
  options: Partial<Record<ConnectionKey, string | undefined>>;
  environment?: NodeJS.ProcessEnv;
  /** Without a project: the keys that the caller uses (default: all), in which entries of nx.json must agree. */
  keys?: readonly ConnectionKey[];
}

/**
 * The connection that the plugin's options in nx.json name, under that of a project, under that of a command line.
 * @throws Problem that names the place, the key and what is allowed.
 */
export function resolveConnection(input: ConnectionInput): Connection {
  const { bucket, ...place } = resolvePlace(input);
  if (bucket === undefined)
    throw new Problem('CONFIG_MISSING', 'No bucket is configured.', {
      next: 'Set "bucket" in the options of nx-ec2 in nx.json and run the command in the workspace, or add --bucket=<name>.',
    });
  return { ...place, bucket };
}

/** The same for what can do without a store. */
export function resolvePlace(input: ConnectionInput): Place {
  const given = Object.fromEntries(Object.entries(input.options).filter(([, value]) => value !== undefined));
  const { workspaceRoot, projectRoot } = input;
  const own = projectRoot === undefined ? {} : readConfigFile(workspaceRoot, projectRoot);
  const plugin =
    projectRoot === undefined
      ? workspaceOptions(input.nxJson, given, input.keys ?? KEYS)
      : pluginOptions(input.nxJson, projectRoot);
  const result = schema.safeParse({ ...plugin, ...own, ...given });
  if (!result.success) {
    const where = (key: string) => (key in own ? posix.join(projectRoot!, CONFIG_FILE) : 'nx.json');
    const lines = result.error.issues.map(({ path: [key], message }) =>
      String(key) in given
        ? `  --${String(key)}: ${message}`
        : `  "${String(key)}" in ${where(String(key))}: ${message}`,
    );
    throw new Problem('CONFIG_INVALID', `The connection is not valid:\n${lines.join('\n')}`);
  }
  const file = posix.join(projectRoot ?? '', CONFIG_FILE);
  const sources: SettingSource[] = [
    { where: null, values: given },
    { where: file, values: own },
    { where: PLUGIN_OPTIONS, values: plugin },
  ];
  try {
    enforcePolicy({ ...result.data, projectRoot }, workspaceRoot, input.environment ?? process.env);
  } catch (error) {
    throw withOrigins(error, sources);
  }
  return { ...result.data, sources };
}

/**
 * Reads the options of nx-ec2 in nx.json that hold without a project. Several entries must agree in the keys that are
 * used; an option of the command line chooses the entries that have its value.
 * @throws Problem `CONFIG_AMBIGUOUS`
 */
function workspaceOptions(nxJson: ConnectionInput['nxJson'], given: Raw, keys: readonly string[]): Raw {
  const all = allPluginOptions(nxJson);
  const chosen = all.filter((entry) => keys.every((key) => !(key in given) || entry[key] === given[key]));
  const entries = chosen.length ? chosen : all;
  const [first = {}] = entries;
  const other = keys.find((key) => !(key in given) && entries.some((entry) => entry[key] !== first[key]));
  if (other === undefined) return first;
  const values = [...new Set(entries.map((entry) => entry[other]))];
  const shown = values.map((value) => (value === undefined ? 'none' : sanitizeForTerminal(String(value))));
  throw new Problem('CONFIG_AMBIGUOUS', `The entries of nx-ec2 in nx.json differ in "${other}": ${shown.join(', ')}.`, {
    next: 'Choose one of them with --bucket, --prefix, --region or --profile.',
  });
}
