import { join, relative } from 'node:path';
import type { TargetConfiguration } from '@nx/devkit';
import type { Raw } from '../schema/merge';
import { NOT_TRAINED } from './not-trained';
import { allOutputs, OUTPUT_DIRECTORY, POINTER, writtenPaths, type WrittenOutput } from '../settings/outputs';
import { environmentFiles } from '../environment/environment';
import { environmentChoice } from '../environment/environment-choice';
import { nxRun, shellWord } from '../../report/shell-words';

/**
 * What of a project, and of what it depends on, can change a training; `init` makes it the named input `training`. Nx
 * selects what is affected by it. What makes the cache key exact is the runtime input of `cacheKeyCommand`.
 */
export const TRAINING_INPUT = ['default', ...NOT_TRAINED.map((pattern) => `!{projectRoot}/${pattern}`)];

export interface TargetNames {
  syncTargetName?: string;
  watchTargetName?: string;
  trainTargetName?: string;
  submitTargetName?: string;
  logsTargetName?: string;
  statusTargetName?: string;
  cancelTargetName?: string;
  pullTargetName?: string;
  execTargetName?: string;
  shellTargetName?: string;
  forwardTargetName?: string;
  tensorboardTargetName?: string;
  jupyterTargetName?: string;
  dashboardTargetName?: string;
  sshConfigTargetName?: string;
  upTargetName?: string;
  downTargetName?: string;
  doctorTargetName?: string;
}

export interface Inference {
  workspaceRoot: string;
  /** Workspace-relative. */
  projectRoot: string;
  projectName?: string;
  /** The plugin's options in nx.json under those of ec2.config.json, as written. */
  merged: Raw;
  names: TargetNames;
  /** Whether the configuration is valid (default). Else nothing is cached, so that each target runs and says what is wrong. */
  isValid?: boolean;
  /** Whether nx.json has the named input `training`. */
  namedInput: boolean;
}

/**
 * Characters in a project's path that Nx reads as a pattern when it looks for outputs: `{projectRoot}` is replaced as
 * text, and nothing escapes them. It would then restore none, or take files elsewhere for outputs.
 */
const PATTERN_IN_ROOT = /[*?[\]{}()!\\]/;
/** Of patterns for outputs, those that mean something else to Nx: it takes `!` for all other files. */
const PATTERN_OF_OTHERS = /[()!\\]/;

/** What is said of a target: its executor and name in nx.json, and an example of its options. */
const TARGETS: Record<
  | 'sync'
  | 'watch'
  | 'train'
  | 'submit'
  | 'logs'
  | 'status'
  | 'cancel'
  | 'pull'
  | 'exec'
  | 'shell'
  | 'forward'
  | 'tensorboard'
  | 'jupyter'
  | 'dashboard'
  | 'ssh-config'
  | 'up'
  | 'down'
  | 'doctor',
  { description: string; options: Raw }
> = {
  sync: { description: 'Sync the project and its dependencies to the EC2 instance', options: { dryRun: true } },
  // Not `continuous`: Nx reports such a target as a success however it ends, and other targets would not wait for its first sync.
  watch: { description: 'Sync each edit to the instance while you work', options: { force: true } },
  logs: { description: "Show a run's log and follow it to its end", options: { run: '<id>' } },
  status: { description: 'List the runs, or show one in full', options: { run: 'last' } },
  cancel: { description: 'Stop a run', options: { gracePeriod: '1m' } },
  pull: { description: 'Fetch artifacts and checkpoints of a run', options: { checkpoints: 'last' } },
  exec: { description: 'Run a command on the instance', options: { command: 'nvidia-smi' } },
  shell: { description: 'Open a shell on the instance', options: { run: '<id>' } },
  forward: { description: 'Forward ports of the instance to this machine', options: { port: '6006' } },
  tensorboard: { description: 'Open TensorBoard over the event files of a run', options: { run: 'last', open: true } },
  jupyter: { description: 'Open Jupyter in the environment of a run', options: { run: 'last', open: true } },
  dashboard: { description: "Open Ray's dashboard of a run", options: { run: 'last', open: true } },
  'ssh-config': {
    description: 'Write a host for ssh and editors that leads to the instance',
    options: { install: true },
  },
  up: { description: 'Launch or start the EC2 instance', options: { json: true } },
  down: { description: 'Terminate or stop the instance of the project', options: { stop: true } },
  doctor: {
    description: 'Check what the other targets need: credentials, bucket, instance, permissions',
    options: { json: true },
  },
  // Never cached: what was only started has no outputs.
  submit: {
    description: 'Start a training on the EC2 instance without following it',
    options: { args: '--epochs 3' },
  },
  train: { description: 'Train on the EC2 instance', options: { args: '--epochs 3' } },
};

/**
 * The targets of a project with an ec2.config.json. They have no options: the executors read the file. It is left out of
 * the inputs, so that a new timeout or another instance trains nothing anew; the runtime input of `remote-train` prints
 * the digest of those settings that can change a training's result.
 */
export function inferTargets(of: Inference): Record<string, TargetConfiguration> {
  const targets: Record<string, TargetConfiguration> = {};
  for (const [verb, { description, options }] of Object.entries(TARGETS)) {
    if (verb === 'dashboard' && !usesRay(of)) continue;
    const executor = `remote-${verb}`;
    const camelCase = verb.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
    const name = of.names[`${camelCase}TargetName` as keyof TargetNames] ?? executor;
    targets[name] = {
      executor: `nx-ec2:${executor}`,
      cache: false,
      ...(verb === 'train' ? caching(of) : {}),
      metadata: {
        description: verb === 'train' ? trainDescription(of, description) : description,
        technologies: ['aws', 'python'],
        help: {
          command: `npx ${of.projectName === undefined ? `nx run <project>:${shellWord(name)}` : nxRun(of.projectName, name)} --help`,
          example: { options },
        },
      },
    };
  }
  return targets;
}

/** Whether Nx finds the outputs of a training by its patterns. */
function hasPlainOutputs({ projectRoot, merged }: Inference): boolean {
  const outputs = trainOutputs(merged);
  return !PATTERN_IN_ROOT.test(projectRoot) && !outputs.some(({ path }) => PATTERN_OF_OTHERS.test(path));
}

function usesRay({ merged }: Inference): boolean {
  return (merged.train as Raw | undefined)?.launcher === 'ray';
}

function trainOutputs({ train }: Raw) {
  return allOutputs((train as Raw | undefined)?.outputs as WrittenOutput[] | undefined);
}

function trainDescription(of: Inference, description: string): string {
  if (of.isValid === false || hasPlainOutputs(of)) return description;
  return `${description} (not cached: Nx can't find outputs whose paths have these characters)`;
}

/** When Nx may take a training from its cache, and what it then restores. */
function caching(of: Inference): Pick<TargetConfiguration, 'cache' | 'outputs' | 'inputs'> {
  const { workspaceRoot, projectRoot, merged } = of;
  const train = (merged.train ?? {}) as Raw;
  return {
    cache: of.isValid !== false && hasPlainOutputs(of),
    // A file that stays in the store has a pointer beside it; one in a directory is in it.
    outputs: trainOutputs(merged).flatMap(({ path }) => [
      `{projectRoot}/${path}`,
      ...(path === OUTPUT_DIRECTORY ? [] : [`{projectRoot}/${path}${POINTER}`]),
    ]),
    inputs: [
      ...namedInput(of),
      // An untracked result or checkpoint is no input, whether git ignores it or not; a tracked one is part of the snapshot's id.
      ...writtenPaths(train).flatMap(({ path }) => [`!{projectRoot}/${path}`, `!{projectRoot}/${path}/**/*`]),
      // Those in the project are its own files already.
      ...environmentFiles({ workspaceRoot, projectRoot, choice: environmentChoice(train) })
        .filter((file) => projectRoot !== '.' && !file.startsWith(`${projectRoot}/`))
        .map((file) => `{workspaceRoot}/${file}`),
      // What goes along from this machine decides the result as well.
      ...((train.passEnv ?? []) as string[]).map((env) => ({ env })),
      // Nx's own hash goes by times of change and knows nothing of git-ignored files or of S3: this one is of what is sent.
      // Without it, the failure of a configuration with a problem has another hash than what a valid one has in the cache: Nx
      // keeps the output of a target that is not cached as well, by its hash.
      ...(of.isValid === false ? [] : [{ runtime: cacheKeyCommand(workspaceRoot, projectRoot) }]),
      // With it, Nx computes the hash when the tasks that this one depends on have ended, not before.
      { dependentTasksOutputFiles: '**/*', transitive: true },
    ],
  };
}

function namedInput({ namedInput: there }: Inference): string[] {
  return there ? ['training', '^training'] : [...TRAINING_INPUT, '^default'];
}

/** A command line that prints the identity of what a training is sent; Nx runs it in the workspace's root, by a shell. */
function cacheKeyCommand(workspaceRoot: string, projectRoot: string): string {
  const main = relative(workspaceRoot, join(__dirname, '../../cli/main.js'));
  return ['node', main, 'cache-key', projectRoot].map((word) => `'${word.replace(/'/g, `'\\''`)}'`).join(' ');
}
