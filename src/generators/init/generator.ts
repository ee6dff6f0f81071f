import { formatFiles, readNxJson, updateNxJson, type Tree } from '@nx/devkit';
import { TRAINING_INPUT } from '../../config/targets';
import { connectionShape } from '../../config/schema';
import { Problem } from '../../report/problem';
import { withoutStack } from '../without-stack';
import type { InitGeneratorSchema } from './schema';

const PLUGIN = 'nx-ec2';

/**
 * Registers the plugin in nx.json and adds the named input `training`; existing values are kept.
 * @returns a callback that reports which values were kept.
 */
export default function init(tree: Tree, options: InitGeneratorSchema): Promise<() => void> {
  return withoutStack(() => register(tree, options));
}

async function register(tree: Tree, { region, bucket, instance }: InitGeneratorSchema): Promise<() => void> {
  if (bucket && !connectionShape.bucket.safeParse(bucket).success) {
    throw new Problem('BUCKET_NAME', `--bucket=${bucket} is no name of a bucket.`, {
      next: `Write ${bucketIn(bucket) ?? 'one such as acme-training'}: 3 to 63 lower-case letters, digits, hyphens and dots.`,
    });
  }
  const nxJson = readNxJson(tree) ?? {};
  const plugins = [...(nxJson.plugins ?? [])];
  const at = plugins.findIndex((each) => (typeof each === 'string' ? each : each.plugin) === PLUGIN);
  const before = at < 0 ? undefined : plugins[at];
  const known: Record<string, unknown> =
    typeof before === 'object' ? { ...(before.options as object | undefined) } : {};
  const given = Object.entries({ region, bucket, instance }).filter(([, value]) => value);
  const wanted = given.filter(([key]) => !(key in known));
  const kept = given.filter(([key, value]) => key in known && known[key] !== value);
  const entry = {
    ...(typeof before === 'object' ? before : {}),
    plugin: PLUGIN,
    options: { ...known, ...Object.fromEntries(wanted) },
  };
  if (at < 0) plugins.push(entry);
  else plugins[at] = entry;
  updateNxJson(tree, { ...nxJson, namedInputs: { training: TRAINING_INPUT, ...nxJson.namedInputs }, plugins });
  await formatFiles(tree);
  return () => {
    for (const [key, value] of kept) {
      const own = JSON.stringify(known[key]);
      console.warn(`nx.json has "${key}": ${own} for nx-ec2, which was kept. To use ${value}, change it there.`);
    }
  };
}

/** The bucket in a URL or an ARN; undefined: there is none. */
function bucketIn(text: string): string | undefined {
  return /^(?:s3:\/\/|arn:[\w-]+:s3:::)([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/|$)/.exec(text)?.[1];
}
