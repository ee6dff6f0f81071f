import { formatFiles, readNxJson, updateNxJson, type GeneratorCallback, type Tree } from '@nx/devkit';
import { TRAINING_INPUT } from '../../config/targets/targets';
import { shellWord } from '../../report/shell-words';
import { connectionShape } from '../../config/schema/schema';
import { Problem } from '../../report/problem';
import { runGenerator } from '../run-generator';
import type { InitGeneratorSchema } from './schema';

const PLUGIN = 'nx-ec2';
const AGENTS = 'AGENTS.md';
const GUIDE = 'node_modules/nx-ec2/PLUGIN.md';

/**
 * Registers the plugin, and names PLUGIN.md in the workspace's AGENTS.md where there is one.
 * @returns a callback that reports which values in nx.json were kept, and prints the next commands.
 */
export default function init(tree: Tree, options: InitGeneratorSchema): Promise<GeneratorCallback> {
  return runGenerator(tree, async () => {
    const reportKept = await registerPlugin(tree, options);
    tellAssistants(tree);
    const bucket = registeredBucket(tree) ?? 'acme-training';
    return () => {
      reportKept();
      console.log(nextCommands(bucket));
    };
  });
}

/** Adds the line for coding assistants to AGENTS.md, once. A workspace without that file does not get one. */
function tellAssistants(tree: Tree): void {
  const text = tree.read(AGENTS, 'utf8');
  if (text === null || text.includes(GUIDE)) return;
  const line = `- nx-ec2 trains projects on AWS EC2 (targets \`remote-*\`): read ${GUIDE} before you change or run them.`;
  tree.write(AGENTS, `${text.trimEnd()}\n\n${line}\n`);
}

function registeredBucket(tree: Tree): string | null {
  const entry = readNxJson(tree)?.plugins?.find((each) => typeof each === 'object' && each.plugin === PLUGIN);
  const bucket = (entry as { options?: { bucket?: unknown } } | undefined)?.options?.bucket;
  return typeof bucket === 'string' && connectionShape.bucket.safeParse(bucket).success ? bucket : null;
}

function nextCommands(bucket: string): string {
  const all = [
    [
      `npx nx g nx-ec2:aws-setup --bucket=${shellWord(bucket)}`,
      'once per account: the template of bucket, roles and policies',
    ],
    [
      'npx nx g nx-ec2:training-targets <project>',
      'for a project with a training script; training-project makes a new one',
    ],
    ['npx nx run <project>:remote-train', 'trains it; remote-doctor checks what it relies on'],
  ];
  const width = Math.max(...all.map(([command]) => command.length));
  return ['', 'Next:', ...all.map(([command, why]) => `  ${command.padEnd(width)}  ${why}`)].join('\n');
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
    throw new Problem('BUCKET_NAME', `--bucket=${bucket} is not a bucket name.`, {
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
