import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { TargetConfiguration } from '@nx/devkit';
import { CONFIG_FILE } from './configuration';
import { ROOT_FILES } from './root-files';

/** What of a project can't change a training: docs, tests, notebooks. */
export const NOT_TRAINING = [
  '!{projectRoot}/**/*.md',
  '!{projectRoot}/docs/**/*',
  '!{projectRoot}/tests/**/*',
  '!{projectRoot}/**/test_*.py',
  '!{projectRoot}/**/*_test.py',
  '!{projectRoot}/**/*.ipynb',
];

export interface TargetNames {
  syncTargetName?: string;
  trainTargetName?: string;
  logsTargetName?: string;
  cancelTargetName?: string;
  doctorTargetName?: string;
}

type Raw = Record<string, unknown>;

/** Settings that do not change what a training results in, so that they are not part of its cache key. */
const NOT_RESULT = new Set(['timeout', 'grace', 'maxArtifactSize']);

/**
 * The targets of a project with an ec2.config.json. The options of `remote-train` carry what changes a training's
 * result, which makes it part of the cache key (Nx hashes a target's options); the file itself is left out of the
 * inputs, so that a new timeout or another instance trains nothing anew.
 * @param merged the plugin's options in nx.json under those of ec2.config.json, as written.
 */
export function inferTargets(
  workspaceRoot: string,
  merged: Raw,
  names: TargetNames,
): Record<string, TargetConfiguration> {
  const train = (merged.train ?? {}) as Raw;
  const sync = (merged.sync ?? {}) as Raw;
  const include = (sync.include ?? []) as string[];
  const target = (
    executor: string,
    description: string,
    more: Partial<TargetConfiguration> = {},
  ): TargetConfiguration => ({
    executor: `nx-ec2:${executor}`,
    cache: false,
    ...more,
    metadata: {
      description,
      technologies: ['aws', 'python'],
    },
  });
  const targets: Record<string, TargetConfiguration> = {
    [names.syncTargetName ?? 'remote-sync']: target(
      'remote-sync',
      'Put the project and what it depends on onto the EC2 instance',
    ),
    [names.logsTargetName ?? 'remote-logs']: target('remote-logs', "Show a run's log and follow it to its end"),
    [names.cancelTargetName ?? 'remote-cancel']: target('remote-cancel', 'Stop a run'),
    [names.doctorTargetName ?? 'remote-doctor']: target('remote-doctor', 'Check what the other targets rely on'),
  };
  if (train.script === undefined && train.command === undefined) return targets;
  const outputDir = (train.outputDir as string | undefined) ?? 'artifacts';
  const options: Raw = Object.fromEntries(Object.entries(train).filter(([key]) => !NOT_RESULT.has(key)));
  const sent = Object.fromEntries(
    Object.entries(sync).filter(([key]) => ['include', 'exclude', 'dependencies'].includes(key)),
  );
  if (Object.keys(sent).length) options.sync = sent;
  targets[names.trainTargetName ?? 'remote-train'] = target('remote-train', 'Train on the EC2 instance', {
    // What is git-ignored is no part of Nx's hash: a hit could restore the result of other data.
    cache: include.length === 0,
    outputs: [`{projectRoot}/${outputDir}`],
    inputs: [
      'default',
      ...NOT_TRAINING,
      `!{projectRoot}/${CONFIG_FILE}`,
      '^default',
      ...ROOT_FILES.filter((file) => existsSync(join(workspaceRoot, file))).map((file) => `{workspaceRoot}/${file}`),
    ],
    options,
  });
  return targets;
}
