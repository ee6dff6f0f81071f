import { readdirSync } from 'node:fs';
import { join, posix } from 'node:path';
import { globBase } from '../../config/syntax/glob';
import { outputMatcher, type Output } from '../../config/settings/outputs';

/**
 * Directories that a framework numbers by those that exist: Lightning and its loggers (`version_3`), Ultralytics
 * (`runs/detect/train3`), Stable-Baselines3 (`PPO_3`). Names that mean a step or a fold (`checkpoint-500`, `fold_1`) are
 * not among them: a training would take an empty one for done.
 */
const NUMBERED =
  /(^|\/)(version_\d+|runs\/[a-z]+\/(train|val|predict|track)\d*|(A2C|DDPG|DQN|PPO|SAC|TD3|ARS|TQC|TRPO|QRDQN|CrossQ|MaskablePPO|RecurrentPPO)_\d+)$/;
const MAX_DIRECTORIES = 1000;
/** More entries are not looked at: the numbers matter less than a start without delay. */
const MAX_LOOKED_AT = 20_000;
const MAX_DEPTH = 8;

/**
 * The numbered directories in a project's outputs, project-relative, sorted. A run's directory holds no results of earlier
 * runs; with these names taken, its framework numbers the results as it would here, and they replace no others.
 */
export function numberedDirectories(workspaceRoot: string, projectRoot: string, outputs: readonly Output[]): string[] {
  const found = new Set<string>();
  const isOutput = outputMatcher('.', outputs);
  let left = MAX_LOOKED_AT;
  const visit = (directory: string, depth: number) => {
    if (depth > MAX_DEPTH) return;
    for (const entry of entriesOf(join(workspaceRoot, projectRoot, directory))) {
      if (left-- <= 0 || found.size >= MAX_DIRECTORIES) return;
      if (!entry.isDirectory()) continue;
      const path = posix.join(directory, entry.name);
      if (NUMBERED.test(path) && isOutput(path)) found.add(path);
      else visit(path, depth + 1);
    }
  };
  for (const { path } of outputs) visit(baseOf(path), 0);
  return [...found].sort();
}

/** The directory that an output can be in. */
function baseOf(output: string): string {
  const base = globBase({ root: '', written: '', pattern: output });
  return NUMBERED.test(base) ? posix.dirname(base) : base;
}

function entriesOf(directory: string) {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch {
    // There are no results yet, or the output is a file.
    return [];
  }
}
