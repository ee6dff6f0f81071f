import { CONFIG_FILE } from '../../config/sources/config-file';
import { environmentChoice } from '../../config/environment/environment-choice';
import { describeEnvironment, findEnvironment, unsupportedTool } from '../../config/environment/environment';
import type { ReadFiles } from '../../config/environment/dependency-files';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal, printableJson } from '../../report/terminal-text';
import type { Tree } from '@nx/devkit';
import type { Detection } from './detect/detect';
import type { Finding } from './detect/findings';
import type { Start } from './detect/start';

/** Lines that say what was found in a project, each with where. */
export function detectionLines(start: Start, detection: Detection): string[] {
  const line = (key: string, { value, why }: Finding) =>
    `${key}: ${sanitizeForTerminal(value)} (${sanitizeForTerminal(why)})`;
  const { frameworks } = detection;
  return [
    start.script !== undefined ? line('script', { value: start.script, why: start.why }) : null,
    start.command !== undefined ? line('command', { value: start.command, why: start.why }) : null,
    start.setup !== undefined ? line('setup', { value: start.setup, why: start.setupWhy ?? start.why }) : null,
    detection.args && line('args', detection.args),
    frameworks.length > 0
      ? `framework: ${frameworks.map(({ value, why }) => `${value} (${sanitizeForTerminal(why)})`).join(', ')}`
      : null,
    ...detection.outputs.map((each) => line('outputs', each)),
    ...detection.scratch.map((each) => line('scratch', each)),
    ...detection.checkpoints.map((each) => line('checkpoints', each)),
    detection.resume && line('resumeArgs', detection.resume),
    ...detection.include.map((each) => line('sync.include', each)),
  ].filter((each) => each !== null);
}

/** One line on the environment that the training gets. */
export function environmentLine(tree: Tree, projectRoot: string, train: Record<string, unknown>): string {
  try {
    const found = findEnvironment({ projectRoot, choice: environmentChoice(train), files: filesIn(tree) });
    return describeEnvironment(found).replace(/^Environment/, 'environment');
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return `environment: ${sanitizeForTerminal(error.message.replace(/\n/g, ' '))}`;
  }
}

/** The tool that the project makes its environment with and that `train` has to name the commands of; null: there is none. */
export function toolOfProject(
  tree: Tree,
  projectRoot: string,
  train: Record<string, unknown>,
): ReturnType<typeof unsupportedTool> {
  return unsupportedTool({ projectRoot, choice: environmentChoice(train), files: filesIn(tree) });
}

function filesIn(tree: Tree): ReadFiles {
  const exists = (path: string) => tree.isFile(path);
  return {
    exists,
    read: (path) => (exists(path) ? (tree.read(path, 'utf8') ?? '').replace(/^\ufeff/, '') : ''),
  };
}

/** What a configuration that is there lacks, for its owner to add. */
export function additionLines(file: string, section: 'train' | 'sync', additions: Record<string, unknown>): string[] {
  const entries = Object.entries(additions);
  if (entries.length === 0) return [];
  return [
    `${sanitizeForTerminal(file)} is unchanged. To use what was found, add to "${section}" in ${CONFIG_FILE}:`,
    ...entries.map(([key, value]) => `  ${JSON.stringify(key)}: ${printableJson(value)}`),
  ];
}
