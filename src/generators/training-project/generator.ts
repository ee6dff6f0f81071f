import { join, posix } from 'node:path';
import {
  addProjectConfiguration,
  formatFiles,
  generateFiles,
  getProjects,
  OverwriteStrategy,
  type Tree,
} from '@nx/devkit';
import { directoriesUp, dependencyFilesIn } from '../../config/environment/dependency-files';
import { Problem } from '../../report/problem';
import trainingTargets from '../training-targets/generator';
import { runGenerator } from '../run-generator';
import type { TrainingProjectGeneratorSchema } from './schema';
import { nxRun, shellWord } from '../../report/shell-words';

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Scaffolds a project that trains at once; run again, it adds what is missing and keeps what is there. */
export default function trainingProject(tree: Tree, options: TrainingProjectGeneratorSchema): Promise<() => void> {
  return runGenerator(tree, () => generate(tree, options));
}

async function generate(tree: Tree, options: TrainingProjectGeneratorSchema): Promise<() => void> {
  const root = projectRoot(options.directory);
  const name = options.name ?? posix.basename(root);
  // Nx keeps projects in plain objects: a name that every object has, such as constructor, counts as taken there.
  if (!NAME.test(name) || name in Object.prototype) {
    throw new Problem('PROJECT_NAME', `${JSON.stringify(name)} can't be the name of a project.`, {
      next: 'Give it another with --name, of letters, digits and . _ -, for instance foo.',
    });
  }
  const projects = getProjects(tree);
  const there = [...projects].find(([, project]) => project.root === root)?.[0];
  if (there === undefined && projects.has(name)) {
    throw new Problem('PROJECT_EXISTS', `There is a project ${name} already, in ${projects.get(name)!.root}.`, {
      next: 'Choose another name with --name.',
    });
  }
  const environment =
    options.environment === undefined || options.environment === 'auto' ? detected(tree, root) : options.environment;
  if (there === undefined) {
    addProjectConfiguration(tree, name, {
      root,
      projectType: 'application',
      sourceRoot: root,
      targets: {},
      ...(options.tags
        ? {
            tags: options.tags
              .split(',')
              .map((tag) => tag.trim())
              .filter(Boolean),
          }
        : {}),
    });
  }
  for (const part of ['common', ...(environment === 'none' ? [] : [environment])]) {
    generateFiles(
      tree,
      join(__dirname, 'files', part),
      root,
      { tmpl: '', name: there ?? name, distribution: distributionName(there ?? name) },
      { overwriteStrategy: OverwriteStrategy.KeepExisting },
    );
  }
  const { instanceType, spot, instanceProfile } = options;
  const instance = { instanceType, spot, instanceProfile };
  await trainingTargets(tree, { project: there ?? name, script: 'train.py', quiet: true, ...instance });
  await formatFiles(tree);
  return () => {
    console.log(`\nTrain it:    npx ${nxRun(there ?? name, 'remote-train')}`);
    if (environment === 'uv')
      console.log(`Pin first:   uv lock --project ${shellWord(root)}    (pins the packages that you tested)`);
  };
}

/** A directory below the workspace's root, as Nx writes it. */
function projectRoot(directory: string): string {
  const root = posix.normalize(directory).replace(/\/+$/, '');
  const odd = root.split('/').find((part) => !NAME.test(part));
  if (root === '' || root === '.' || posix.isAbsolute(root) || odd !== undefined) {
    throw new Problem('PROJECT_DIRECTORY', `${JSON.stringify(directory)} can't be the directory of a new project.`, {
      next: 'Name one below the workspace, of letters, digits and . _ -, for instance models/foo.',
    });
  }
  return root;
}

/** uv, which nx-ec2 fetches for an instance that lacks it; none where a directory above has an environment of another tool. */
function detected(tree: Tree, root: string): 'uv' | 'none' {
  const files = { exists: (path: string) => tree.isFile(path), read: (path: string) => tree.read(path, 'utf8') ?? '' };
  const [nearest] = directoriesUp(root).flatMap((directory) => dependencyFilesIn(directory, files));
  return !nearest || nearest.manager === 'uv' ? 'uv' : 'none';
}

/** A name that pyproject.toml takes (PEP 503, normalized). */
export function distributionName(name: string): string {
  return name
    .toLowerCase()
    .replace(/[-_.]+/g, '-')
    .replace(/^-+|-+$/g, '');
}
