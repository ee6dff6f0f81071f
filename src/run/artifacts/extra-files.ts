import { existsSync } from 'node:fs';
import { join, posix } from 'node:path';
import { CONFIG_FILE } from '../../config/sources/config-file';
import { OUTPUT_DIRECTORY, outputFinder } from '../../config/settings/outputs';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal, printablePath } from '../../report/terminal-text';
import { formatCount, formatSize } from '../../report/units';
import { projectPath, type ListedArtifact, type UnsavedFile } from './artifact-list';
import { describeUnsaved, EXTRA_ADVICE, NOT_CACHED } from './assert-saved';
import { nxRun } from '../../report/shell-words';
import type { RunRecord } from '../record/record';
import type { Configuration } from '../../config/settings/types';
import type { RunContext } from '../../context/types';

/** Files that are named in one message; the largest come first. */
const MAX_NAMED = 10;
/** So many files of one directory are suggested as the directory. */
const MIN_FILES_OF_DIRECTORY = 3;
const OUTSIDE = '{workspaceRoot}/';

/** Names the files that a run wrote outside its outputs, how to get them, and the line that brings them back each time. */
export function reportExtra(
  { printer, project, configuration, workspaceRoot }: RunContext,
  record: RunRecord,
  extra: readonly ListedArtifact[],
  unsaved: readonly UnsavedFile[],
): void {
  const suggest = suggester(workspaceRoot, configuration);
  if (extra.length > 0) {
    const bytes = extra.reduce((sum, { size }) => sum + size, 0);
    const names = extra.map(({ name }) => name);
    const outputs = suggest(names);
    const command = nxRun(project, 'remote-pull', `--run=${record.id}`, ...pullOptions(names, outputs));
    printer.warn(
      [
        `The training wrote ${formatCount(extra.length, 'file')} (${formatSize(bytes)}) outside its outputs. They are in the store only:`,
        ...namedWithSizes(extra),
        ...advice(configuration, names, outputs),
        `To fetch them now: ${command}`,
      ].join('\n'),
    );
  }
  if (unsaved.length > 0) {
    const unsavedNames = unsaved.map(({ name }) => name);
    const reasons = [...new Set(unsaved.map(({ why }) => why))].map(sanitizeForTerminal).join('; ');
    printer.warn(
      [
        `The training wrote ${formatCount(unsaved.length, 'file')} outside its outputs that ${unsaved.length === 1 ? 'was' : 'were'} not saved (${reasons}):`,
        ...namedWithSizes(unsaved),
        ...advice(configuration, unsavedNames, suggest(unsavedNames)),
        describeUnsaved(project, record.id, unsaved),
        EXTRA_ADVICE,
      ].join('\n'),
    );
  }
}

/**
 * Refuses to call a run a success that Nx caches, where it has no output and has written files elsewhere, which
 * `reportExtra` has named, or has left a checkpoint.
 * @throws Problem `NOT_CACHED`
 */
export function assertCacheable(
  { id, checkpoints }: Pick<RunRecord, 'id' | 'checkpoints'>,
  { project, configuration }: Pick<RunContext, 'project' | 'configuration'>,
  { artifacts, extra, unsaved }: Record<'artifacts' | 'extra' | 'unsaved', readonly unknown[]>,
): void {
  const count = extra.length + unsaved.length;
  const last = checkpoints.at(-1);
  if (artifacts.length > 0) return;
  if (count > 0) {
    throw new Problem(
      'NOT_CACHED',
      `The training ${id} succeeded, but wrote none of its ${formatCount(count, 'file')} to an output.`,
      {
        next:
          unsaved.length === 0
            ? `${NOT_CACHED} Name them in "train.outputs" as said above, ${SAME_RESULT}`
            : `${NOT_CACHED} Name them in "train.outputs" as said above. Those that were not saved are on the instance alone.\nTo train again: ${nxRun(project, 'remote-train', '--rerun')}`,
      },
    );
  }
  if (last) {
    throw new Problem(
      'NOT_CACHED',
      `The training ${id} succeeded, but it left a checkpoint (${sanitizeForTerminal(last.unit)}) and no output.`,
      {
        next: [
          `${NOT_CACHED} ${checkpointAdvice(configuration, last.unit)}`,
          `To fetch the checkpoint now: ${nxRun(project, 'remote-pull', `--run=${id}`, '--checkpoints=last')}`,
        ].join('\n'),
      },
    );
  }
}

const SAME_RESULT = 'and run the same command again: it takes this result, without another training.';

function checkpointAdvice(configuration: Configuration, unit: string): string {
  const path = projectPath(unit);
  if (path === null) return 'Have the training write its result to NX_EC2_OUTPUT_DIR.';
  const { paths } = configuration.train.checkpoints;
  const outputs = outputFinder(paths)(path) ? paths.map((each) => each.path) : [path];
  return `To bring it back, add it to ${whereToAdd(configuration, outputs)}, ${SAME_RESULT}`;
}

/** Where outputs are added, and the text: with its key only if the project has no list yet, which it would replace. */
function whereToAdd({ projectRoot, train }: Configuration, outputs: readonly string[]): string {
  const file = posix.join(projectRoot, CONFIG_FILE);
  const list = sanitizeForTerminal(JSON.stringify(outputs)).replace(/","/g, '", "');
  const hasOwn = train.outputs.some(({ path }) => path !== OUTPUT_DIRECTORY);
  return hasOwn ? `"train.outputs" in ${file}: ${list.slice(1, -1)}` : `"train" in ${file}: "outputs": ${list}`;
}

function suggester(workspaceRoot: string, { projectRoot }: Configuration): (names: readonly string[]) => string[] {
  return (names) => suggestedOutputs(names, (directory) => existsSync(join(workspaceRoot, projectRoot, directory)));
}

function namedWithSizes(files: readonly { name: string; size: number }[]): string[] {
  const largest = [...files].sort((a, b) => b.size - a.size || (a.name < b.name ? -1 : 1));
  const named = largest.slice(0, MAX_NAMED).map(({ name, size }) => `  ${printablePath(name)}  ${formatSize(size)}`);
  return files.length > MAX_NAMED ? [...named, `  and ${files.length - MAX_NAMED} more`] : named;
}

/** The text of ec2.config.json that makes outputs of files. */
function advice(configuration: Configuration, names: readonly string[], outputs: readonly string[]): string[] {
  const lines: string[] = [];
  if (outputs.length > 0) {
    lines.push(
      `To bring them back each time, add them to ${whereToAdd(configuration, outputs)} (or to "scratch" if they are not results)`,
    );
  }
  if (names.some((name) => name.startsWith(OUTSIDE)))
    lines.push("Files outside the project can't be outputs. Have the training write them below its project.");
  return lines;
}

/**
 * Outputs that name files of a project: the outermost directory that the run made, else the file itself, or its directory
 * where several files are in it.
 * @param exists whether a project-relative directory is here.
 */
export function suggestedOutputs(names: readonly string[], exists: (directory: string) => boolean): string[] {
  const own = names.filter((name) => !name.startsWith(OUTSIDE));
  const inDirectory = new Map<string, number>();
  for (const name of own) inDirectory.set(posix.dirname(name), (inDirectory.get(posix.dirname(name)) ?? 0) + 1);
  const suggest = (name: string) => {
    const parts = name.split('/');
    const parents = parts.slice(1).map((_, depth) => parts.slice(0, depth + 1).join('/'));
    const made = parents.find((parent) => !exists(parent));
    if (made !== undefined) return `${made}/`;
    const parent = posix.dirname(name);
    return parent !== '.' && inDirectory.get(parent)! >= MIN_FILES_OF_DIRECTORY ? `${parent}/` : name;
  };
  return [...new Set(own.map(suggest))].sort();
}

function pullOptions(names: readonly string[], outputs: readonly string[]): string[] {
  const outside = names.some((name) => name.startsWith(OUTSIDE)) ? [`${OUTSIDE}**`] : [];
  return [...outputs.map((each) => each.replace(/\/$/, '/**')), ...outside].map((path) => `--path=${path}`);
}
