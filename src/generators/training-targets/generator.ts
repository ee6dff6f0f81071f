import {
  formatFiles,
  joinPathFragments,
  offsetFromRoot,
  readJson,
  readProjectConfiguration,
  writeJson,
  type Tree,
} from '@nx/devkit';
import { CONFIG_FILE } from '../../config/configuration';
import { Problem } from '../../report/problem';
import init from '../init/generator';
import type { TrainingTargetsGeneratorSchema } from './schema';

const SCRIPTS = ['train.py', 'src/train.py', 'main.py', 'src/main.py'];

/** Adds ec2.config.json to a project, from which the targets are inferred; what is there already is kept. */
export default async function trainingTargets(tree: Tree, options: TrainingTargetsGeneratorSchema): Promise<void> {
  const { root } = readProjectConfiguration(tree, options.project);
  const file = joinPathFragments(root, CONFIG_FILE);
  const before = tree.exists(file) ? readJson<Record<string, unknown>>(tree, file) : {};
  const train = (before.train ?? {}) as Record<string, unknown>;
  const script = options.script ?? SCRIPTS.find((path) => tree.exists(joinPathFragments(root, path)));
  if (train.script === undefined && train.command === undefined) {
    if (script === undefined) {
      throw new Problem('SCRIPT_MISSING', `${options.project} has none of ${SCRIPTS.join(', ')}.`, {
        next: 'Name its training script with --script.',
      });
    }
    train.script = script;
  }
  if (options.outputDir && options.outputDir !== 'artifacts') train.outputDir ??= options.outputDir;
  await init(tree, {});
  writeJson(tree, file, {
    $schema: `${offsetFromRoot(root)}node_modules/nx-ec2/ec2.config.schema.json`,
    ...before,
    train,
  });
  ignore(tree, joinPathFragments(root, '.gitignore'), `/${String(train.outputDir ?? 'artifacts')}/`);
  await formatFiles(tree);
}

/** Artifacts that are not git-ignored would change the training's cache key each time. */
function ignore(tree: Tree, file: string, line: string): void {
  const text = tree.exists(file) ? tree.read(file, 'utf8')! : '';
  if (text.split('\n').includes(line)) return;
  tree.write(file, `${text}${text && !text.endsWith('\n') ? '\n' : ''}${line}\n`);
}
