import type { ConfigurationInput, Configuration } from './types';
import type { z } from 'zod';
import type { configurationSchema } from '../schema/schema';
import { isTraining } from '../schema/target-options';
import { launcherOf } from './launcher';
import { readNodes } from './nodes';
import { missing } from './missing-setting';
import { Problem } from '../../report/problem';
import { allOutputs, readOutputs, checkpointPaths, outputFault, literalOutputs } from './outputs';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { splitWords, splitCommand } from '../syntax/words';
import { posix, resolve, relative } from 'node:path';
import { existsSync, realpathSync } from 'node:fs';

/** @param isPool the training runs on a member of a pool. */
export function trainOf(
  input: ConfigurationInput,
  train: z.infer<typeof configurationSchema>['train'],
  isPool = false,
): Configuration['train'] {
  if (isTraining(input.target) && (train.script === undefined) === (train.command === undefined)) {
    throw train.script === undefined
      ? missing(input, 'train.script', 'the Python script to run (or "train.command" to a command)')
      : new Problem('CONFIG_INVALID', `Both "script" and "command" are set for ${input.projectName}.`, {
          next: 'Remove one of them.',
          settings: ['train.script', 'train.command'],
        });
  }
  const outputs = allOutputs(train.outputs);
  const scratch = readOutputs(train.scratch);
  const checkpoints = { ...train.checkpoints, paths: checkpointPaths(train) };
  for (const [key, entries] of Object.entries({ outputs, scratch, 'checkpoints.paths': checkpoints.paths })) {
    for (const entry of entries) {
      const fault = outputFault(entry);
      if (fault !== null)
        throw new Problem('CONFIG_INVALID', `train.${key}: ${sanitizeForTerminal(entry.path)} ${fault}.`, {
          settings: [`train.${key}`],
        });
    }
  }
  for (const path of literalOutputs(outputs)) inside(input, 'train.outputs', path);
  for (const path of literalOutputs(checkpoints.paths)) inside(input, 'train.checkpoints.paths', path);
  const datasets = train.datasets.map((each) => ({ ...each, path: inside(input, 'train.datasets', each.path) }));
  const command =
    train.command === undefined
      ? undefined
      : typeof train.command === 'string'
        ? splitCommand(train.command, 'train.command')
        : train.command;
  const list = (value: string | string[], what: string) =>
    typeof value === 'string' ? splitWords(value, what) : value;
  const nodes = readNodes(train.nodes);
  return {
    ...train,
    script: train.script === undefined ? undefined : inside(input, 'train.script', train.script),
    command,
    ...nodes,
    launcher: isTraining(input.target) ? launcherOf({ ...train, ...nodes }, command ?? null) : null,
    args: list(train.args, 'train.args'),
    setup:
      train.setup === undefined
        ? null
        : train.setup === false
          ? []
          : [train.setup].flat().map((line) => splitCommand(line, 'train.setup')),
    outputs,
    scratch,
    checkpoints,
    resumeArgs: list(train.resumeArgs, 'train.resumeArgs'),
    resources: resourcesOf(train.resources, isPool),
    datasets,
  };
}

/** What a run reserves. One in a pool has a member to itself, unless it says what it needs. */
function resourcesOf(
  { exclusive, gpus = 0 }: z.infer<typeof configurationSchema>['train']['resources'],
  isPool: boolean,
): Configuration['train']['resources'] {
  return { exclusive: exclusive ?? (isPool && gpus === 0), gpus };
}

/** A path that must stay inside the project, by text and, where it exists, really. */
function inside(input: ConfigurationInput, key: string, path: string): string {
  const normal = posix.normalize(path).replace(/\/$/, '');
  const refuse = () => {
    throw new Problem(
      'CONFIG_OUTSIDE',
      `${key}: ${sanitizeForTerminal(path)} is not inside the project ${input.projectName}.`,
      { settings: [key] },
    );
  };
  if (posix.isAbsolute(normal) || normal === '.' || normal === '..' || normal.startsWith('../')) refuse();
  const absolute = resolve(input.workspaceRoot, input.projectRoot, normal);
  if (existsSync(absolute)) {
    const from = relative(realpathSync(input.workspaceRoot), realpathSync(absolute));
    if (from.startsWith('..')) refuse();
  }
  return normal;
}
