import { statSync } from 'node:fs';
import { join, posix } from 'node:path';
import { readText } from '../syntax/read-text';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal, printablePath } from '../../report/terminal-text';
import { commandLanguage } from './command-language';
import type { EnvironmentChoice } from './environment-choice';
import { namedBySetup, requirementsFiles } from './included-files';
import type { EnvironmentManager } from './environment-manager';
import {
  directoriesUp,
  dependencyFilesIn,
  type DependencyFile,
  type ReadFiles,
  type UnsupportedTool,
} from './dependency-files';
import { quoteWord } from '../syntax/words';

export interface PythonEnvironment {
  manager: EnvironmentManager;
  /** Workspace-relative directory of the dependency file; '' is the workspace's root. */
  root: string;
  file: string;
  locked: boolean;
}

export interface FoundEnvironment {
  environment: PythonEnvironment;
  /** The files that the environment is made of, workspace-relative and sorted. */
  files: string[];
  /** Dependency files that are not used, because a nearer one is. */
  unused: string[];
}

interface Project {
  workspaceRoot: string;
  /** Workspace-relative. */
  projectRoot: string;
  choice: EnvironmentChoice;
}

/**
 * The files that a project's environment is made of and that travel with it. A file that can't be parsed counts as empty:
 * `detectEnvironment` reports it.
 * @param excluded files that are not sent.
 */
export function environmentFiles(
  { workspaceRoot, projectRoot, choice }: Project,
  excluded: (path: string) => boolean = () => false,
): string[] {
  const exists = (path: string) => isFile(join(workspaceRoot, path)) && !excluded(path);
  const files: ReadFiles = { exists, read: (path) => (exists(path) ? readText(join(workspaceRoot, path)) : '') };
  const own = projectRoot === '.' ? '' : projectRoot;
  const found = search(own, choice, files, 'files');
  const named = namedBySetup(own, choice.setup ?? [], exists);
  const all = [...filesOf(found.chosen, own, files), ...named.flatMap((path) => requirementsFiles(path, files))];
  return [...new Set(all)].sort();
}

/**
 * The tool that a project's Python environment is made with: that of the nearest dependency file, from the project up to the
 * workspace's root.
 * @param paths the files that are sent: no other counts.
 */
export function detectEnvironment({
  workspaceRoot,
  projectRoot,
  choice,
  paths,
}: Project & { paths: readonly string[] }): FoundEnvironment {
  const sent = new Set(paths);
  const exists = (path: string) => sent.has(path);
  const files: ReadFiles = {
    exists,
    read: (path) => (exists(path) ? readText(join(workspaceRoot, path)) : ''),
    onInvalid: (path, error) => {
      throw new Problem('TOML', `${printablePath(path)} can't be read: ${sanitizeForTerminal(error.message)}`);
    },
  };
  return findEnvironment({ projectRoot, choice, files });
}

/** Like detectEnvironment, but reads the files by `files`. */
export function findEnvironment({
  projectRoot,
  choice,
  files,
}: Omit<Project, 'workspaceRoot'> & { files: ReadFiles }): FoundEnvironment {
  const { environment } = choice;
  const own = projectRoot === '.' ? '' : projectRoot;
  const { chosen, others } = search(own, choice, files, 'manager');
  const none = { manager: 'none' as const, root: projectRoot, file: '', locked: false };
  if (!chosen) {
    if (environment === 'auto' || environment === 'none') return { environment: none, files: [], unused: [] };
    throw new Problem(
      'ENVIRONMENT_MISSING',
      `"train.environment" is ${environment}, but no dependency file of ${environment} is among the files that are sent.`,
      { next: 'Add the dependency file ("sync.include" sends a git-ignored one), or change "train.environment".' },
    );
  }
  assertUnambiguous(chosen, choice, files);
  const used = filesOf(chosen, own, files);
  const unused = [...new Set(others.map(pathOf))].filter((path) => !used.includes(path));
  if (chosen.manager === 'unsupported') {
    assertSupported(chosen, choice);
    return { environment: none, files: used, unused };
  }
  const { manager, root, file } = chosen;
  return { environment: { manager, root, file, locked: chosen.lock !== null }, files: used, unused };
}

/** One line on the environment of a run. */
export function describeEnvironment({ environment, files, unused }: FoundEnvironment): string {
  const { manager, root, file } = environment;
  const own = files.length > 0 ? `by train.setup, from ${files.map(printablePath).join(', ')}` : 'none';
  const made = manager === 'none' ? own : `${manager}, from ${printablePath(posix.join(root, file))}`;
  const lock = files.find((path) => /\.lock$/.test(path));
  const locked = environment.locked && lock ? `, locked by ${printablePath(lock)}` : '';
  return `Environment: ${made}${locked}${unused.length ? ` (not used: ${unused.map(printablePath).join(', ')})` : ''}`;
}

/**
 * The tool of a project's environment that nx-ec2 does not run by itself: the project must name its commands. null: there is
 * none, or the project does.
 */
export function unsupportedTool({
  projectRoot,
  choice,
  files,
}: Omit<Project, 'workspaceRoot'> & { files: ReadFiles }): (UnsupportedTool & { dependencyFile: string }) | null {
  const { chosen } = search(projectRoot === '.' ? '' : projectRoot, choice, files, 'manager');
  if (!chosen?.unsupported || isSetUpByProject(chosen.unsupported.tool, choice)) return null;
  return { ...chosen.unsupported, dependencyFile: pathOf(chosen) };
}

/** A command line that runs in the environment that a tool makes. */
export function commandOfTool({ tool, run }: UnsupportedTool, line: string): string {
  return line.startsWith(`${tool} `) ? line : `${run} ${line}`;
}

/** `pixi run` and `hatch run` make the environment that they run in. */
function isSetUpByProject(
  tool: UnsupportedTool['tool'],
  { command, setup }: Pick<EnvironmentChoice, 'command' | 'setup'>,
): boolean {
  return setup !== null || (command !== null && command[0] === tool && tool !== 'pdm');
}

function search(
  own: string,
  { environment, command, setup }: EnvironmentChoice,
  files: ReadFiles,
  wanted: 'files' | 'manager',
): { chosen?: DependencyFile; others: DependencyFile[] } {
  if (environment === 'none') return { others: [] };
  let directories = directoriesUp(own);
  if (environment === 'auto' && command) {
    const language = commandLanguage(command, own, files.read);
    // The lines of a set-up may need the files of an environment that the command does not run in.
    if (language === 'other' && (setup === null || wanted === 'manager')) return { others: [] };
    if (language === 'maybe' && setup === null) directories = [own];
  }
  const dependencyFiles = directories.flatMap((directory) => dependencyFilesIn(directory, files));
  const chosen = dependencyFiles.find(({ manager }) => environment === 'auto' || manager === environment);
  return { chosen, others: dependencyFiles.filter((each) => each !== chosen) };
}

function filesOf(chosen: DependencyFile | undefined, own: string, files: ReadFiles): string[] {
  if (!chosen) return [];
  const beside = (directory: string, ...names: string[]) => names.map((name) => posix.join(directory, name));
  const versions = directoriesUp(own).flatMap((directory) => beside(directory, '.python-version'));
  const found = [pathOf(chosen), ...chosen.more, ...(chosen.lock === null ? [] : [chosen.lock])];
  for (const directory of new Set(found.map((path) => posix.dirname(path)))) {
    if (chosen.manager === 'uv') found.push(...beside(directory, 'uv.toml'));
    if (chosen.manager === 'poetry') found.push(...beside(directory, 'poetry.toml'));
  }
  if (chosen.manager === 'pip' || chosen.manager === 'conda') found.push(...requirementsFiles(pathOf(chosen), files));
  found.push(...versions.filter(files.exists).slice(0, 1));
  return [...new Set(found)].filter(files.exists).sort();
}

function pathOf({ root, file }: DependencyFile): string {
  return posix.join(root, file);
}

function assertUnambiguous({ root }: DependencyFile, { environment }: EnvironmentChoice, { exists }: ReadFiles): void {
  if (environment !== 'auto' || !['uv.lock', 'poetry.lock'].every((name) => exists(posix.join(root, name)))) return;
  throw new Problem('ENVIRONMENT_AMBIGUOUS', `${posix.join(root, 'uv.lock')} and poetry.lock both exist.`, {
    next: 'Remove one, or set "train.environment".',
  });
}

/** nx-ec2 does not run these tools by itself: the project says how, in its set-up and its command. */
function assertSupported(dependencyFile: DependencyFile, { command, setup, script }: EnvironmentChoice): void {
  const { tool, setUp } = dependencyFile.unsupported!;
  if (isSetUpByProject(tool, { command, setup })) return;
  const line = command?.map(quoteWord).join(' ') ?? `python ${script === undefined ? '<script>' : quoteWord(script)}`;
  const within = commandOfTool(dependencyFile.unsupported!, line);
  throw new Problem(
    'ENVIRONMENT_UNSUPPORTED',
    `${printablePath(pathOf(dependencyFile))} describes an environment of ${tool}, which nx-ec2 can't set up.`,
    {
      next: `Set ${sanitizeForTerminal(`"train.setup": "${setUp}" and "train.command": ${JSON.stringify(within)}`)} in ec2.config.json, with ${tool} on the instance; or "train.environment" to none or to the tool of another dependency file (uv, poetry, conda, pip).`,
    },
  );
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}
