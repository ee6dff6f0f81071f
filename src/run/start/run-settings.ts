import type { RunPart } from '../../command/plan';
import { OUTPUT_DIRECTORY, outputRule } from '../../config/settings/outputs';
import { nodesSetting } from '../../config/settings/nodes';
import type { Configuration } from '../../config/settings/types';
import { numberedDirectories } from '../artifacts/numbered-directories';
import { MAX_EXTRA_FILES, MAX_FILES } from '../record/file-lists';

/** The settings that decide a training's result: with the files, the variables and the data, they make its key. */
export function decidingSettings(
  { projectRoot, train }: Configuration,
  project: string,
  environment: RunPart['environment'],
): Pick<
  RunPart,
  | 'project'
  | 'projectRoot'
  | 'script'
  | 'command'
  | 'args'
  | 'environment'
  | 'setup'
  | 'outputDir'
  | 'packageIndex'
  | 'datasets'
  | 'resources'
  | 'launcher'
> {
  return {
    project,
    projectRoot,
    script: train.script ?? null,
    command: train.command ?? null,
    args: train.args,
    environment,
    setup: train.setup,
    outputDir: OUTPUT_DIRECTORY,
    packageIndex: train.packageIndex ?? null,
    datasets: train.datasets.map(({ source, path }) => ({ source, path })),
    resources: train.resources,
    launcher: train.launcher,
  };
}

/** The settings that say how a training is run, and what of it is kept. */
export function runSettings(
  { projectRoot, train }: Configuration,
  workspaceRoot: string,
): Pick<
  RunPart,
  | 'installer'
  | 'timeout'
  | 'gracePeriod'
  | 'artifacts'
  | 'checkpoints'
  | 'limits'
  | 'priority'
  | 'retry'
  | 'resumeArgs'
  | 'secrets'
  | 'metrics'
> {
  return {
    installer: train.installer,
    timeout: toSeconds(train.timeout),
    gracePeriod: Math.ceil(train.gracePeriod / 1000),
    artifacts: {
      outputs: train.outputs.map(outputRule),
      scratch: train.scratch.map(outputRule),
      numbered: numberedDirectories(workspaceRoot, projectRoot, train.outputs),
      limits: { files: MAX_FILES, bytes: train.maxArtifactSize },
      extra: { files: MAX_EXTRA_FILES, bytes: train.extraLimit },
    },
    checkpoints: {
      keep: train.checkpoints.keep,
      every: toSeconds(train.checkpoints.every),
      paths: train.checkpoints.paths.map(outputRule),
    },
    limits: { memory: train.memory ?? null, cores: train.cores ?? null },
    priority: train.priority,
    retry: train.retry,
    resumeArgs: train.resumeArgs,
    secrets: train.secretsFrom === 'instance' ? train.secrets : {},
    metrics: {
      file: train.metrics.file ?? null,
      idle: train.metrics.idle === false ? null : toSeconds(train.metrics.idle),
    },
  };
}

/** What a run's record says of its settings. */
export function runDescription(
  configuration: Configuration,
): Pick<RunPart['metadata'], 'command' | 'recovery' | 'configuration'> {
  const { train, instance } = configuration;
  return {
    command: [train.script ?? train.command, ...train.args].flat().join(' '),
    recovery: 'launchSpec' in instance ? instance.launchSpec.recovery : train.nodes > 1 ? 'command' : 'none',
    configuration: publicSettings(configuration),
  };
}

/** Settings of a training that anybody may read. */
const PUBLIC_SETTINGS = [
  'script',
  'command',
  'args',
  'environment',
  'setup',
  'outputs',
  'datasets',
  'resources',
  'retry',
  'memory',
  'cores',
] as const;

/** What decides a run's result, as far as anybody may read it: names of variables and secrets, not their values. */
function publicSettings({ train, pricePerHour }: Configuration): Record<string, unknown> {
  return {
    ...Object.fromEntries(PUBLIC_SETTINGS.map((name) => [name, train[name]])),
    launcher: train.launcher ?? undefined,
    nodes: nodesSetting(train),
    pricePerHour,
    env: Object.keys(train.env).sort(),
    secrets: Object.keys(train.secrets).sort(),
  };
}

function toSeconds(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.ceil(ms / 1000);
}
