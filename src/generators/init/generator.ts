import { formatFiles, readNxJson, updateNxJson, type Tree } from '@nx/devkit';
import type { InitGeneratorSchema } from './schema';

const PLUGIN = 'nx-ec2';

/** Registers the plugin in nx.json; options that are there already are kept. */
export default async function init(tree: Tree, options: InitGeneratorSchema): Promise<void> {
  const nxJson = readNxJson(tree) ?? {};
  const plugins = [...(nxJson.plugins ?? [])];
  const at = plugins.findIndex((each) => (typeof each === 'string' ? each : each.plugin) === PLUGIN);
  const { region, bucket, instance } = options;
  const wanted = Object.fromEntries(
    Object.entries({ region, bucket, instance }).filter(([, value]) => value !== undefined),
  );
  const before = at < 0 ? undefined : plugins[at];
  const known = typeof before === 'object' ? (before.options as object | undefined) : undefined;
  const entry = { ...(typeof before === 'object' ? before : {}), plugin: PLUGIN, options: { ...wanted, ...known } };
  if (at < 0) plugins.push(entry);
  else plugins[at] = entry;
  updateNxJson(tree, { ...nxJson, plugins });
  await formatFiles(tree);
}
