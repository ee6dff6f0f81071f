import {
  formatFiles,
  joinPathFragments,
  offsetFromRoot,
  readJson,
  readNxJson,
  readProjectConfiguration,
  updateProjectConfiguration,
  writeJson,
  type Tree,
} from '@nx/devkit';
import { CONFIG_FILE } from '../../config/config-file';
import { isGlob } from '../../config/glob';
import { allOutputs, checkpointPaths, OUTPUT_DIRECTORY, POINTER, type WrittenOutput } from '../../config/outputs';
import { inferTargets } from '../../config/targets';
import { Problem } from '../../report/problem';
import init from '../init/generator';
import { withoutStack } from '../without-stack';
import type { TrainingTargetsGeneratorSchema } from './schema';
import { describeWanted } from './wanted-instance';

const SCRIPTS = ['train.py', 'src/train.py', 'main.py', 'src/main.py'];
/** Below a package's own directory, as @nxlv/python, uv and poetry lay it out. */
const IN_PACKAGE = ['train.py', '__main__.py'];

/** Adds ec2.config.json to a project, from which the targets are inferred; what is there already is kept. */
export default function trainingTargets(tree: Tree, options: TrainingTargetsGeneratorSchema): Promise<void> {
  return withoutStack(() => generate(tree, options));
}

async function generate(tree: Tree, options: TrainingTargetsGeneratorSchema): Promise<void> {
  const { root } = readProjectConfiguration(tree, options.project);
  const file = joinPathFragments(root, CONFIG_FILE);
  const before = tree.exists(file) ? readJson<Record<string, unknown>>(tree, file) : {};
  const train = (before.train ?? {}) as Record<string, unknown>;
  const instance = before.instance ?? describeWanted(options);
  const script = options.script ?? findScript(tree, root);
  if (train.script === undefined && train.command === undefined) {
    if (script === undefined) {
      throw new Problem(
        'SCRIPT_MISSING',
        `${options.project} has none of ${[...SCRIPTS, ...IN_PACKAGE.map((name) => `<package>/${name}`)].join(', ')}.`,
        {
          next: 'Name its training script with --script.',
        },
      );
    }
    train.script = script;
  }
  if (options.outputs?.length) train.outputs ??= options.outputs;
  if (!options.explicit) await init(tree, {});
  writeJson(tree, file, {
    $schema: `${offsetFromRoot(root)}node_modules/nx-ec2/ec2.config.schema.json`,
    ...before,
    ...(instance === undefined ? {} : { instance }),
    train,
  });
  if (options.explicit) addTargets(tree, options.project, root, { ...before, train });
  ignore(tree, joinPathFragments(root, '.gitignore'), ignorePatterns(train));
  await formatFiles(tree);
}

/** The project's training script, where it has one of the usual names. */
function findScript(tree: Tree, root: string): string | undefined {
  const direct = SCRIPTS.find((path) => tree.isFile(joinPathFragments(root, path)));
  if (direct) return direct;
  for (const parent of ['', 'src']) {
    for (const name of tree.children(joinPathFragments(root, parent))) {
      const found = IN_PACKAGE.map((file) => joinPathFragments(parent, name, file)).find(
        (path) =>
          tree.isFile(joinPathFragments(root, path)) &&
          tree.isFile(joinPathFragments(root, parent, name, '__init__.py')),
      );
      if (found) return found;
    }
  }
  return undefined;
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
