import { posix } from 'node:path';
import { quoteWord, splitCommand } from '../../../config/syntax/words';
import { Problem } from '../../../report/problem';
import type { ProjectFiles } from './project-files';
import { findScript, USUAL } from './script';
import { shellWord } from '../../../report/shell-words';

/** How a training starts. */
export interface Start {
  script?: string;
  command?: string;
  setup?: string;
  why: string;
  setupWhy?: string;
}

/** How the project trains: its Python script, else the `train` script of package.json, else a script in R or Julia. */
export function findStart(project: string, files: ProjectFiles): Start {
  const found = findScript(files);
  if ('path' in found && found.why !== 'the only Python file') return { script: found.path, why: found.why };
  const other = ofNode(files) ?? ofR(files) ?? ofJulia(files);
  if (other) return other;
  if ('path' in found) return { script: found.path, why: found.why };
  const { candidates } = found;
  if (candidates.length > 0) {
    throw new Problem('SCRIPT_UNCLEAR', `${project} has several scripts: ${list(candidates)}.`, {
      next: `Name the one that trains: --script=${shellWord(candidates[0])}. Or name the command that trains with --command.`,
    });
  }
  const hasNotebook = files.paths.some((path) => path.endsWith('.ipynb'));
  throw new Problem('SCRIPT_MISSING', `${project} has no script that is known to train (${USUAL.join(', ')}, …).`, {
    next: `Name its Python script with --script, or its command with --command, e.g. --command="${hasNotebook ? 'jupyter nbconvert --execute --to notebook train.ipynb' : 'node train.mjs'}".`,
  });
}

function list(paths: readonly string[]): string {
  return paths.length > 10 ? `${paths.slice(0, 10).join(', ')} and ${paths.length - 10} more` : paths.join(', ');
}

interface PackageJson {
  scripts?: Record<string, unknown>;
  dependencies?: object;
  devDependencies?: object;
}

/** The package managers of Node.js, by their lock files. */
const NODE: [lock: string, run: string, install: string][] = [
  ['package-lock.json', 'npm run train', 'npm ci'],
  ['pnpm-lock.yaml', 'pnpm run train', 'pnpm install --frozen-lockfile'],
  ['yarn.lock', 'yarn run train', 'yarn install'],
  ['bun.lock', 'bun run train', 'bun install --frozen-lockfile'],
];

function ofNode(files: ProjectFiles): Start | null {
  const packageJson = parsed(files.read('package.json'));
  const script = packageJson?.scripts?.train;
  if (!packageJson || typeof script !== 'string' || script.trim() === '') return null;
  const [lock, run, install] = NODE.find(([name]) => files.paths.includes(name)) ?? [
    null,
    'npm run train',
    'npm install',
  ];
  const needs = [packageJson.dependencies, packageJson.devDependencies].some(
    (each) => Object.keys(each ?? {}).length > 0,
  );
  return {
    // Without a package manager in between, the training gets the signals itself.
    command: isPlainNode(script) ? script : run,
    why: 'package.json, scripts.train',
    ...(needs ? { setup: install, setupWhy: `package.json has dependencies${lock ? `, ${lock}` : ''}` } : {}),
  };
}

function isPlainNode(script: string): boolean {
  try {
    return splitCommand(script, 'scripts.train')[0] === 'node';
  } catch {
    return false;
  }
}

function parsed(text: string | null): PackageJson | null {
  try {
    const value: unknown = JSON.parse(text ?? 'null');
    return typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}

function ofR(files: ProjectFiles): Start | null {
  const path = only(files, /\.[rR]$/);
  if (!path) return null;
  const hasLock = files.paths.includes('renv.lock');
  const setup = hasLock ? { setup: `Rscript -e "renv::restore(prompt = FALSE)"`, setupWhy: 'renv.lock' } : {};
  return { command: `Rscript ${quoteWord(path)}`, why: path, ...setup };
}

function ofJulia(files: ProjectFiles): Start | null {
  const path = only(files, /\.jl$/);
  if (!path) return null;
  if (!files.paths.includes('Project.toml')) return { command: `julia ${quoteWord(path)}`, why: path };
  return {
    command: `julia --project=. ${quoteWord(path)}`,
    why: path,
    setup: `julia --project=. -e "using Pkg; Pkg.instantiate()"`,
    setupWhy: 'Project.toml',
  };
}

/** The script of a language that is called train or main, or that is the only one. */
function only(files: ProjectFiles, extension: RegExp): string | null {
  const scripts = files.paths.filter((path) => extension.test(path) && !/(?:^|\/)(?:tests?|renv)\//.test(path));
  const named = scripts.find((path) =>
    /^(?:src\/|R\/)?(?:train|main)$/i.test(path.slice(0, -posix.extname(path).length)),
  );
  return named ?? (scripts.length === 1 ? scripts[0] : null);
}

/** The project's files that a command runs, by its words. */
export function scriptsOfCommand(words: readonly string[], files: ProjectFiles): string[] {
  const known = new Set(files.paths);
  return words.flatMap((word, at) => {
    const path = posix.normalize(word);
    if (known.has(path)) return [path];
    if (words[at - 1] !== '-m') return [];
    const stem = word.replace(/\./g, '/');
    return [`${stem}.py`, `${stem}/__main__.py`, `src/${stem}.py`, `src/${stem}/__main__.py`].filter((each) =>
      known.has(each),
    );
  });
}
