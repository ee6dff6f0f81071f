import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import {
  formatFiles,
  getProjects,
  joinPathFragments,
  offsetFromRoot,
  readJson,
  readNxJson,
  readProjectConfiguration,
  updateProjectConfiguration,
  writeJson,
  type Tree,
} from '@nx/devkit';
import { CONFIG_FILE } from '../../config/sources/config-file';
import { commandOfTool } from '../../config/environment/environment';
import { globMatcher, isGlob, rootedGlob } from '../../config/syntax/glob';
import {
  allOutputs,
  checkpointPaths,
  OUTPUT_DIRECTORY,
  outputFinder,
  POINTER,
  type WrittenOutput,
} from '../../config/settings/outputs';
import { inferTargets } from '../../config/targets/targets';
import { quoteWord, splitCommand } from '../../config/syntax/words';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal, printablePath } from '../../report/terminal-text';
import { runGit } from '../../workspace/git/run-git';
import { registerPlugin } from '../init/generator';
import { runGenerator } from '../run-generator';
import { detect, type Detection } from './detect/detect';
import type { Finding } from './detect/findings';
import { projectFiles, type ProjectFiles } from './detect/project-files';
import { findStart, type Start } from './detect/start';
import { additionLines, detectionLines, environmentLine, toolOfProject } from './report';
import type { TrainingTargetsGeneratorSchema } from './schema';
import { describeWanted } from './wanted-instance';

/**
 * Adds ec2.config.json to a project, from which the targets are inferred, with what the project's sources say of its
 * training; says what was found, and where. What is there already is kept.
 */
export default function trainingTargets(tree: Tree, options: TrainingTargetsGeneratorSchema): Promise<void> {
  return runGenerator(tree, () => generate(tree, options));
}

async function generate(tree: Tree, options: TrainingTargetsGeneratorSchema): Promise<void> {
  const { root } = readProjectConfiguration(tree, options.project);
  const file = joinPathFragments(root, CONFIG_FILE);
  const before = tree.exists(file) ? readJson<Record<string, unknown>>(tree, file) : {};
  const given = (before.train ?? {}) as Record<string, unknown>;
  const instance = before.instance ?? describeWanted(options);
  const isConfigured = given.script !== undefined || given.command !== undefined;
  const files = projectFiles(tree, root, otherRoots(tree, root));
  const script = isConfigured ? startOf(given) : startFrom(options, files);
  const ignored = ignoredFiles(tree.root, root, files);
  const detection = detect(files, script, trackedFiles(tree.root, root), ignored);
  const launcher = options.script === undefined ? detection.command : null;
  const start = isConfigured ? script : startedBy(script, launcher, (train) => toolOfProject(tree, root, train));
  const found = foundTrain(start, detection);
  const train = { ...(isConfigured ? {} : found), ...given };
  if (options.outputs?.length && given.outputs === undefined) train.outputs = options.outputs;
  if (!options.explicit) await registerPlugin(tree, {});
  const sync = (before.sync ?? {}) as { include?: readonly string[] };
  const include = unsentData(detection.include, root, sync.include ?? [], ignored);
  // As with `train`: a section that exists is kept.
  const takesInclude = !isConfigured && sync.include === undefined && include.length > 0;
  const after = {
    ...before,
    ...(instance === undefined ? {} : { instance }),
    ...(takesInclude ? { sync: { ...sync, include } } : {}),
    train,
  };
  // A file that is written again loses its comments.
  const isKept = hasComments(tree, file);
  const schema = `${offsetFromRoot(root)}node_modules/nx-ec2/ec2.config.schema.json`;
  if (!isKept && !isDeepStrictEqual(after, before)) writeJson(tree, file, { $schema: schema, ...after });
  if (options.explicit) addTargets(tree, options.project, root, { ...before, train });
  ignore(tree, joinPathFragments(root, '.gitignore'), ignorePatterns(train));
  await formatFiles(tree);
  if (options.quiet) return;
  const lines = [
    ...detectionLines(start, detection),
    environmentLine(tree, root, train),
    ...detection.notes.map((note) => `note: ${sanitizeForTerminal(note)}`),
  ];
  console.log([`Found in ${printablePath(root)}:`, ...lines.map((line) => `  ${line}`)].join('\n'));
  const missing = isKept ? { ...added(given, train), ...additions(given, found) } : additions(train, found);
  const missingInclude = include.length > 0 && (isKept || !takesInclude) ? { include } : {};
  for (const line of [...additionLines(file, 'sync', missingInclude), ...additionLines(file, 'train', missing)])
    console.log(line);
}

/** The start that a configuration names. */
function startOf({ script, command }: Record<string, unknown>): Start {
  const words = Array.isArray(command) ? command.map((word) => quoteWord(String(word))).join(' ') : command;
  const named = typeof script === 'string' ? { script } : { command: String(words ?? '') };
  return { ...named, why: CONFIG_FILE };
}

function startFrom({ project, script, command }: TrainingTargetsGeneratorSchema, files: ProjectFiles): Start {
  if (script !== undefined && command !== undefined)
    throw new Problem('OPTION_INVALID', '--script and --command are both given.', { next: 'Name one of them.' });
  if (command !== undefined) {
    splitCommand(command, '--command');
    return { command, why: '--command' };
  }
  return script === undefined ? findStart(project, files) : { script, why: '--script' };
}

/** How a training is started where torchrun has to launch its script, or a tool of its own makes its environment. */
function startedBy(
  script: Start,
  launcher: Finding | null,
  toolFor: (train: Record<string, unknown>) => ReturnType<typeof toolOfProject>,
): Start {
  const start: Start =
    launcher === null ? script : { ...script, script: undefined, command: launcher.value, why: launcher.why };
  const tool = toolFor({ script: start.script, command: start.command, setup: start.setup });
  if (tool === null) return start;
  return {
    command: commandOfTool(tool, start.command ?? `python ${quoteWord(start.script!)}`),
    why: `${start.why}, ${tool.dependencyFile}`,
    setup: tool.setUp,
    setupWhy: tool.dependencyFile,
  };
}

/** `train` as it is written: what differs from the defaults. */
function foundTrain(
  start: Start,
  { outputs, scratch, checkpoints, args, resume }: Omit<Detection, 'command'>,
): Record<string, unknown> {
  const values = (found: readonly Finding[]) => (found.length > 0 ? found.map(({ value }) => value) : undefined);
  const train = {
    script: start.script,
    command: start.command,
    setup: start.setup,
    args: args?.value,
    outputs: values(outputs),
    scratch: values(scratch),
    checkpoints: checkpoints.length > 0 ? { paths: values(checkpoints) } : undefined,
    resumeArgs: resume?.value,
  };
  return Object.fromEntries(Object.entries(train).filter(([, value]) => value !== undefined));
}

/** What would be written if the file had no comments. */
function added(given: Record<string, unknown>, train: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(train).filter(([key]) => given[key] === undefined));
}

function hasComments(tree: Tree, file: string): boolean {
  if (!tree.exists(file)) return false;
  const text = tree.read(file, 'utf8')!.replace(/"(?:[^"\\]|\\.)*"/g, '""');
  return text.includes('//') || text.includes('/*');
}

/** What was found that the configuration does not have. */
function additions(train: Record<string, unknown>, found: Record<string, unknown>): Record<string, unknown> {
  const covers = outputFinder(allOutputs(train.outputs as WrittenOutput[] | undefined));
  const outputs = ((found.outputs ?? []) as string[]).filter((path) => !covers(path.replace(/\/$/, '')));
  const rest = Object.entries(found).filter(
    ([key]) => !['script', 'command', 'outputs', 'checkpoints'].includes(key) && train[key] === undefined,
  );
  const hasPaths = (train.checkpoints as { paths?: unknown } | undefined)?.paths !== undefined;
  const checkpoints = found.checkpoints === undefined || hasPaths ? {} : { checkpoints: found.checkpoints };
  return { ...(outputs.length > 0 ? { outputs } : {}), ...checkpoints, ...Object.fromEntries(rest) };
}

function otherRoots(tree: Tree, root: string): string[] {
  return [...getProjects(tree).values()].map((project) => project.root).filter((other) => other !== root);
}

/** Of the data that git ignores, as globs, what `sync.include` does not name. */
function unsentData(
  found: readonly Finding[],
  root: string,
  include: readonly string[],
  ignored: readonly string[],
): string[] {
  const rooted = include.flatMap((each) => rootedGlob(root, each) ?? []);
  const sent = rooted.map((each) => globMatcher(each));
  const unsent = ignored.filter((path) => !sent.some((matches) => matches(joinPathFragments(root, path))));
  return found
    .map(({ value }) => value)
    .filter((value) => unsent.some(globMatcher({ root: '', written: value, pattern: value })));
}

/** Of the project's files those that git ignores; none without git. */
function ignoredFiles(workspaceRoot: string, root: string, { paths }: ProjectFiles): string[] {
  try {
    // A path that begins with a colon must not be read as a pattern. 1: git ignores none of them.
    const answer = runGit(join(workspaceRoot, root), ['check-ignore', '-z', '--stdin'], {
      input: paths.map((path) => `./${path}\0`).join(''),
      codes: [0, 1],
    });
    return (answer ?? '').split('\0').flatMap((path) => (path === '' ? [] : [path.replace(/^\.\//, '')]));
  } catch {
    return [];
  }
}

/** The project's files that git tracks; none without git. */
function trackedFiles(workspaceRoot: string, root: string): string[] {
  try {
    const args = ['-C', join(workspaceRoot, root), 'ls-files', '-z'];
    const listed = execFileSync('git', args, { encoding: 'utf8', timeout: 10_000, maxBuffer: 1 << 26, stdio: 'pipe' });
    return listed.split('\0').filter(Boolean);
  } catch {
    return [];
  }
}

/** Writes the targets into project.json, for a workspace that does not register the plugin; those that are there are kept. */
function addTargets(tree: Tree, name: string, root: string, merged: Record<string, unknown>): void {
  const project = readProjectConfiguration(tree, name);
  const namedInput = readNxJson(tree)?.namedInputs?.training !== undefined;
  const targets = inferTargets({
    workspaceRoot: tree.root,
    projectRoot: root,
    projectName: name,
    merged,
    names: {},
    namedInput,
  });
  updateProjectConfiguration(tree, name, { ...project, targets: { ...targets, ...project.targets } });
}

/**
 * Patterns of .gitignore that name the outputs and the checkpoints of a training. Globs with braces or groups have no such
 * pattern.
 */
export function ignorePatterns(train: {
  outputs?: readonly WrittenOutput[];
  checkpoints?: { paths?: readonly string[] };
}): string[] {
  const outputs = allOutputs(train.outputs).flatMap(({ path }) => {
    if (path === OUTPUT_DIRECTORY) return [`/${path}/`];
    const patterns = ignorePattern(path);
    // A directory or a file, which may have a pointer beside it.
    return isGlob(path) ? patterns : [...patterns, ...patterns.map((pattern) => `${pattern}${POINTER}`)];
  });
  return [...new Set([...outputs, ...checkpointPaths(train).flatMap(({ path }) => ignorePattern(path))])];
}

function ignorePattern(path: string): string[] {
  if (isGlob(path)) return /[{}()!+@|\\]/.test(path) ? [] : [`/${path}`];
  return [`/${escapeIgnorePattern(path)}`];
}

/**
 * A path as a pattern of .gitignore that names it alone. Line ends have no escape there, and a blank at the end is cut
 * off by git or by Nx: a wildcard takes the place of that character.
 */
export function escapeIgnorePattern(path: string): string {
  return path.replace(/[\\*?[\]]/g, '\\$&').replace(/[\r\n]|[ \t\v\f]$/g, '?');
}

/** Artifacts that are not git-ignored would change the training's cache key each time. */
function ignore(tree: Tree, file: string, lines: readonly string[]): void {
  const text = tree.exists(file) ? tree.read(file, 'utf8')! : '';
  const present = new Set(text.split('\n'));
  const missing = lines.filter((line) => !present.has(line));
  if (missing.length) tree.write(file, `${text}${text && !text.endsWith('\n') ? '\n' : ''}${missing.join('\n')}\n`);
}
