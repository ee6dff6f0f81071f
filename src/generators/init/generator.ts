import { formatFiles, readNxJson, updateNxJson, type Tree } from '@nx/devkit';
import { TRAINING_INPUT } from '../../config/targets';
import type { InitGeneratorSchema } from './schema';

const PLUGIN = 'nx-ec2';

/** Registers the plugin in nx.json and adds the named input `training`; what is there already is kept. */
export default async function init(tree: Tree, options: InitGeneratorSchema): Promise<void> {
  const nxJson = readNxJson(tree) ?? {};
  const plugins = [...(nxJson.plugins ?? [])];
  const at = plugins.findIndex((each) => (typeof each === 'string' ? each : each.plugin) === PLUGIN);
  const { region, bucket, instance } = options;
  const before = at < 0 ? undefined : plugins[at];
  const known = typeof before === 'object' ? { ...(before.options as object | undefined) } : {};
  const wanted = Object.entries({ region, bucket, instance }).filter(([key, value]) => value && !(key in known));
  const entry = {
    ...(typeof before === 'object' ? before : {}),
    plugin: PLUGIN,
    options: { ...known, ...Object.fromEntries(wanted) },
  };
  if (at < 0) plugins.push(entry);
  else plugins[at] = entry;
  updateNxJson(tree, { ...nxJson, namedInputs: { training: TRAINING_INPUT, ...nxJson.namedInputs }, plugins });
  await formatFiles(tree);
}
