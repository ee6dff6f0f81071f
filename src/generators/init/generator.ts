import {
  addDependenciesToPackageJson,
  formatFiles,
  NX_VERSION,
  readJson,
  readNxJson,
  updateNxJson,
  type GeneratorCallback,
  type Tree,
} from '@nx/devkit';
import { TRAINING_INPUT } from '../../config/targets';
import { connectionShape } from '../../config/schema';
import { Problem } from '../../report/problem';
import { withoutStack } from '../without-stack';
import type { InitGeneratorSchema } from './schema';

const PLUGIN = 'nx-ec2';

/**
 * Registers the plugin, and gives the workspace an @nx/devkit of its own Nx's version.
 * @returns a callback that installs it, reports which values in nx.json were kept, and prints the next commands.
 */
export default function init(tree: Tree, options: InitGeneratorSchema): Promise<GeneratorCallback> {
  return withoutStack(async () => {
    const reportKept = await registerPlugin(tree, options);
    const install = addDevkit(tree);
    const bucket = options.bucket || 'acme-training';
    return async () => {
      await install();
      reportKept();
      console.log(nextCommands(bucket));
    };
  });
}

function nextCommands(bucket: string): string {
  const commands = [
    [`nx-ec2:aws-setup --bucket=${bucket}`, 'once per account: the template of bucket, roles and policies'],
    ['nx-ec2:training-targets <project>', 'for a project with a training script; training-project makes a new one'],
  ].map(([words, why]) => [`npx nx g ${words}`, why]);
  const all = [...commands, ['npx nx run <project>:remote-train', 'trains it; remote-doctor checks what it relies on']];
  const width = Math.max(...all.map(([command]) => command.length));
  return ['', 'Next:', ...all.map(([command, why]) => `  ${command.padEnd(width)}  ${why}`)].join('\n');
}

/**
 * Adds @nx/devkit, on which this package depends, to the workspace if it has none. Without it, a package manager puts the
 * version that this package asks for in the workspace's root, and `nx report` advises to migrate to it.
 */
function addDevkit(tree: Tree): GeneratorCallback {
  const devkit = '@nx/devkit';
  if (!tree.exists('package.json')) return () => {};
  const { dependencies, devDependencies } = readJson<Record<string, Record<string, string> | undefined>>(
    tree,
    'package.json',
  );
  if (dependencies?.[devkit] ?? devDependencies?.[devkit]) return () => {};
  return addDependenciesToPackageJson(tree, {}, { [devkit]: devkitRange(NX_VERSION) });
}

/** The newest @nx/devkit that is not newer than Nx: patches of Nx are released without one (24.0.6 has none, 24.0.0 has). */
export function devkitRange(nxVersion: string): string {
  const [, minor] = /^(\d+\.\d+)\.\d+$/.exec(nxVersion) ?? [];
  return minor === undefined ? nxVersion : `>=${minor}.0 <=${nxVersion}`;
}

/**
 * Registers the plugin in nx.json and adds the named input `training`; existing values are kept.
 * @returns a callback that reports which values were kept.
 */
export async function registerPlugin(
  tree: Tree,
  { region, bucket, instance }: InitGeneratorSchema,
): Promise<() => void> {
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
