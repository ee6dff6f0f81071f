import { join, relative } from 'node:path';
import type { TargetConfiguration } from '@nx/devkit';
import type { Raw } from './merge';
import { NOT_TRAINED } from './not-trained';
import { allOutputs, OUTPUT_DIRECTORY, POINTER, writtenPaths, type WrittenOutput } from './outputs';
import { environmentFiles } from './environment';
import { environmentChoice } from './environment-choice';
import { nxRun, shellWord } from '../report/shell-words';

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

/**
 * The targets of a project with an ec2.config.json. They have no options: the executors read the file. It is left out of
 * the inputs, so that a new timeout or another instance trains nothing anew; the runtime input of `remote-train` prints
 * the digest of those settings that can change a training's result.
 */
export function inferTargets(of: Inference): Record<string, TargetConfiguration> {
  const { workspaceRoot, projectRoot, merged, names } = of;
  const train = (merged.train ?? {}) as Raw;
  const target = (
    name: string,
    executor: string,
    description: string,
    example: { options?: Raw; args?: string[] },
    more: Partial<TargetConfiguration> = {},
  ): TargetConfiguration => ({
    executor: `nx-ec2:${executor}`,
    cache: false,
    ...more,
    metadata: {
      description,
      technologies: ['aws', 'python'],
      help: {
        command: `npx ${of.projectName === undefined ? `nx run <project>:${shellWord(name)}` : nxRun(of.projectName, name)} --help`,
        example,
      },
    },
  });
  const name = {
    sync: names.syncTargetName ?? 'remote-sync',
    watch: names.watchTargetName ?? 'remote-watch',
    train: names.trainTargetName ?? 'remote-train',
    submit: names.submitTargetName ?? 'remote-submit',
    logs: names.logsTargetName ?? 'remote-logs',
    status: names.statusTargetName ?? 'remote-status',
    cancel: names.cancelTargetName ?? 'remote-cancel',
    pull: names.pullTargetName ?? 'remote-pull',
    exec: names.execTargetName ?? 'remote-exec',
    shell: names.shellTargetName ?? 'remote-shell',
    up: names.upTargetName ?? 'remote-up',
    down: names.downTargetName ?? 'remote-down',
    doctor: names.doctorTargetName ?? 'remote-doctor',
  };
  const targets: Record<string, TargetConfiguration> = {
    [name.sync]: target(name.sync, 'remote-sync', 'Sync the project and its dependencies to the EC2 instance', {
      options: { dryRun: true },
    }),
    // Not `continuous`: Nx reports such a target as a success however it ends, and other targets would not wait for its first sync.
    [name.watch]: target(name.watch, 'remote-watch', 'Sync each edit to the instance while you work', {
      options: { force: true },
    }),
    [name.logs]: target(name.logs, 'remote-logs', "Show a run's log and follow it to its end", {
      options: { run: '<id>' },
    }),
    [name.status]: target(name.status, 'remote-status', 'List the runs, or show one in full', {
      options: { run: 'last' },
    }),
    [name.cancel]: target(name.cancel, 'remote-cancel', 'Stop a run', { options: { gracePeriod: '1m' } }),
    [name.pull]: target(name.pull, 'remote-pull', 'Fetch artifacts and checkpoints of a run', {
      options: { checkpoints: 'last' },
    }),
    [name.exec]: target(name.exec, 'remote-exec', 'Run a command on the instance', {
      options: { command: 'nvidia-smi' },
    }),
    [name.shell]: target(name.shell, 'remote-shell', 'Open a shell on the instance', { options: { run: '<id>' } }),
    [name.up]: target(name.up, 'remote-up', 'Launch or start the EC2 instance', { options: { json: true } }),
    [name.down]: target(name.down, 'remote-down', 'Terminate or stop the instance of the project', {
      options: { stop: true },
    }),
    [name.doctor]: target(
      name.doctor,
      'remote-doctor',
      'Check what the other targets need: credentials, bucket, instance, permissions',
      {
        options: { json: true },
      },
    ),
  };
  const outputs = allOutputs(train.outputs as WrittenOutput[] | undefined);
  const own = namedInput(of);
  const isCacheable =
    of.isValid !== false &&
    !PATTERN_IN_ROOT.test(projectRoot) &&
    !outputs.some(({ path }) => PATTERN_OF_OTHERS.test(path));
  // Never cached: what was only started has no outputs.
  targets[name.submit] = target(
    name.submit,
    'remote-submit',
    'Start a training on the EC2 instance without following it',
    {
      options: { args: '--epochs 3' },
    },
  );
  targets[name.train] = target(
    name.train,
    'remote-train',
    isCacheable || of.isValid === false
      ? 'Train on the EC2 instance'
      : "Train on the EC2 instance (not cached: Nx can't find outputs whose paths have these characters)",
    { options: { args: '--epochs 3' } },
    {
      cache: isCacheable,
      // A file that stays in the store has a pointer beside it; one in a directory is in it.
      outputs: outputs.flatMap(({ path }) => [
        `{projectRoot}/${path}`,
        ...(path === OUTPUT_DIRECTORY ? [] : [`{projectRoot}/${path}${POINTER}`]),
      ]),
      inputs: [
        ...own,
        // An untracked result or checkpoint is no input, whether git ignores it or not; a tracked one is part of the snapshot's id.
        ...writtenPaths(train).flatMap(({ path }) => [`!{projectRoot}/${path}`, `!{projectRoot}/${path}/**/*`]),
        // Those in the project are its own files already.
        ...environmentFiles({ workspaceRoot, projectRoot, choice: environmentChoice(train) })
          .filter((file) => projectRoot !== '.' && !file.startsWith(`${projectRoot}/`))
          .map((file) => `{workspaceRoot}/${file}`),
        // What goes along from this machine decides the result as well.
        ...((train.passEnv ?? []) as string[]).map((env) => ({ env })),
        // Nx's own hash goes by times of change and knows nothing of git-ignored files or of S3: this one is of what is sent.
        { runtime: cacheKeyCommand(workspaceRoot, projectRoot) },
        // With it, Nx computes the hash when the tasks that this one depends on have ended, not before.
        { dependentTasksOutputFiles: '**/*', transitive: true },
      ],
    },
  );
  return targets;
}

function namedInput({ namedInput: there }: Inference): string[] {
  return there ? ['training', '^training'] : [...TRAINING_INPUT, '^default'];
}

/** A command line that prints the identity of what a training is sent; Nx runs it in the workspace's root, by a shell. */
function cacheKeyCommand(workspaceRoot: string, projectRoot: string): string {
  const main = relative(workspaceRoot, join(__dirname, '../cli/main.js'));
  return ['node', main, 'cache-key', projectRoot].map((word) => `'${word.replace(/'/g, `'\\''`)}'`).join(' ');
}
