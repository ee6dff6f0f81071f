import { existsSync } from 'node:fs';
import { join, posix } from 'node:path';
import { CONFIG_FILE } from '../config/config-file';
import type { Configuration } from '../config/configuration';
import { Problem } from '../report/problem';
import { printable, printablePath } from '../report/terminal-text';
import { formatCount, formatSize } from '../report/units';
import type { ListedArtifact, UnsavedFile } from './artifact-list';
import { shellWord } from './pointer';
import type { RunRecord } from './record';
import type { RunsSession } from './session';

/** Files that are named in one message; the largest come first. */
const NAMED = 10;
/** So many files of one directory are suggested as the directory. */
const SEVERAL = 3;
const OUTSIDE = '{workspaceRoot}/';

/** Names the files that a run wrote outside its outputs, how to get them, and the line that brings them back each time. */
export function reportExtra(
  { reporter, project, configuration, workspaceRoot }: RunsSession,
  record: RunRecord,
  extra: readonly ListedArtifact[],
  unsaved: readonly UnsavedFile[],
): void {
  const suggest = suggester(workspaceRoot, configuration);
  if (extra.length > 0) {
    const bytes = extra.reduce((sum, { size }) => sum + size, 0);
    const names = extra.map(({ name }) => name);
    const outputs = suggest(names);
    const command = ['nx', 'run', `${project}:remote-pull`, `--run=${record.id}`, ...pullOptions(names, outputs)];
    reporter.warn(
      [
        `The training wrote ${formatCount(extra.length, 'file')} (${formatSize(bytes)}) outside its outputs. They are in the store, not here:`,
        ...namedWithSizes(extra),
        ...advice(configuration, names, outputs),
        `To fetch them now: ${printable(command.map(shellWord).join(' '))}`,
      ].join('\n'),
    );
  }
  if (unsaved.length > 0) {
    const unsavedNames = unsaved.map(({ name }) => name);
    const reasons = [...new Set(unsaved.map(({ why }) => why))].map(printable).join('; ');
    reporter.warn(
      [
        `The training wrote ${formatCount(unsaved.length, 'file')} outside its outputs that ${unsaved.length === 1 ? 'was' : 'were'} not saved (${reasons}):`,
        ...namedWithSizes(unsaved),
        ...advice(configuration, unsavedNames, suggest(unsavedNames)),
        `They are on ${record.instance} in ${printable(record.directory)} as long as it runs. "train.extraLimit" says how much is saved.`,
      ].join('\n'),
    );
  }
}

/**
 * Refuses to call a run without any output a success that Nx caches, where it has written files elsewhere. `reportExtra`
 * has named them.
 * @throws Problem `NOT_CACHED`
 */
export function refuseCachingNothing(
  run: string,
  {
    artifacts,
    extra,
    unsaved,
  }: { artifacts: readonly unknown[]; extra: readonly unknown[]; unsaved: readonly unknown[] },
): void {
  const count = extra.length + unsaved.length;
  if (artifacts.length > 0 || count === 0) return;
  throw new Problem(
    'NOT_CACHED',
    `The training ${run} succeeded, but wrote none of its ${formatCount(count, 'file')} to an output.`,
    {
      next: 'The target is reported as failed so that Nx does not cache a result without its files. Name them in "train.outputs" as said above, and run the same command again: it takes this result, without another training.',
    },
  );
}

function suggester(workspaceRoot: string, { projectRoot }: Configuration): (names: readonly string[]) => string[] {
  return (names) => suggestedOutputs(names, (directory) => existsSync(join(workspaceRoot, projectRoot, directory)));
}

function namedWithSizes(files: readonly { name: string; size: number }[]): string[] {
  const largest = [...files].sort((a, b) => b.size - a.size || (a.name < b.name ? -1 : 1));
  const named = largest.slice(0, NAMED).map(({ name, size }) => `  ${printablePath(name)}  ${formatSize(size)}`);
  return files.length > NAMED ? [...named, `  and ${files.length - NAMED} more`] : named;
}

/** The line of ec2.config.json that makes outputs of files. */
function advice({ projectRoot }: Configuration, names: readonly string[], outputs: readonly string[]): string[] {
  const lines: string[] = [];
  if (outputs.length > 0) {
    const list = printable(JSON.stringify(outputs)).replace(/","/g, '", "');
    lines.push(
      `To bring them back each time, add them to "train" in ${posix.join(projectRoot, CONFIG_FILE)}: "outputs": ${list} (or to "scratch" what is no result)`,
    );
  }
  if (names.some((name) => name.startsWith(OUTSIDE)))
    lines.push('Files outside the project can be no outputs: have the training write them below its project.');
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
    return parent !== '.' && inDirectory.get(parent)! >= SEVERAL ? `${parent}/` : name;
  };
  return [...new Set(own.map(suggest))].sort();
}

function pullOptions(names: readonly string[], outputs: readonly string[]): string[] {
  const outside = names.some((name) => name.startsWith(OUTSIDE)) ? [`${OUTSIDE}**`] : [];
  return [...outputs.map((each) => each.replace(/\/$/, '/**')), ...outside].map((path) => `--path=${path}`);
}
