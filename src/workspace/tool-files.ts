/**
 * Files that come from a run and that a program on this machine would act on by their names alone, when somebody works
 * in the directory that they lie in. The rule, for each part of a path:
 * - A name of a version control system's or Nx's own directory is never written; nor is what makes a directory a bare
 *   git repository, nor a file that changes what is ignored.
 * - A name that begins with a dot is some tool's configuration, but for the few in `INERT`.
 * - Manifests, build files, files that test runners and Python import by name, and `<tool>.config.<extension>`.
 * Names are compared as the most lenient file systems compare them.
 */

/** HFS+ ignores these in names: the list that git uses for `.git`. */
const IGNORABLE = /[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]/g;

/** A name as the most lenient of file systems reads it: case, Unicode forms, trailing dots and spaces, NTFS streams. */
export function foldName(name: string): string {
  return name
    .replace(IGNORABLE, '')
    .normalize('NFKC')
    .replace(IGNORABLE, '')
    .toUpperCase()
    .toLowerCase()
    .replace(/:.*$/s, '')
    .replace(/[. ]+$/, '');
}

const CONTROL = new Map([
  ['git', 'git runs programs that it names'],
  ['hg', 'Mercurial runs programs that it names'],
  ['svn', 'Subversion reads it'],
  ['bzr', 'Bazaar reads it'],
  ['jj', 'Jujutsu reads it'],
  ['sl', 'Sapling reads it'],
  ['nx', 'Nx reads it'],
]);
const IGNORE_FILES = new Set(['.gitignore', '.nxignore', '.gitattributes', '.gitmodules']);

/** Names with a dot at their beginning that no tool acts on. */
const INERT = new Set(['.hydra', '.gitkeep', '.keep', '.ipynb_checkpoints', '.ds_store']);

const MANIFESTS = new Set([
  // Nx and this plugin
  ...['project.json', 'nx.json', 'workspace.json', 'angular.json', 'lerna.json', 'ec2.config.json'],
  // packages of JavaScript
  ...['package.json', 'package-lock.json', 'npm-shrinkwrap.json', 'yarn.lock', 'pnpm-lock.yaml', 'pnpm-workspace.yaml'],
  ...['bun.lock', 'bun.lockb', 'bunfig.toml', 'deno.json', 'deno.jsonc', 'jsr.json', 'rush.json', 'node_modules'],
  // Python
  ...[
    'pyproject.toml',
    'setup.py',
    'setup.cfg',
    'tox.ini',
    'noxfile.py',
    'pytest.ini',
    'mypy.ini',
    'pylintrc',
    'ruff.toml',
  ],
  ...[
    'conftest.py',
    'sitecustomize.py',
    'usercustomize.py',
    'pyvenv.cfg',
    'pipfile',
    'uv.toml',
    'poetry.toml',
    'pixi.toml',
  ],
  ...['uv.lock', 'poetry.lock', 'pdm.lock'],
  ...['pytest.toml', 'tasks.py', 'dodo.py', 'fabfile.py', 'conanfile.py', 'wscript', 'sconstruct', 'snakefile'],
  // other languages and build tools
  ...['gradlew', 'gradlew.bat', 'mvnw', 'nx.bat', 'meson.build', 'earthfile'],
  ...['brewfile', 'guardfile', 'berksfile', 'vagrantfile', 'jenkinsfile', 'turbo.json', 'moon.yml', 'tslint.json'],
  ...['cdk.json', 'nuget.config', 'global.json', 'chart.yaml', 'desktop.ini'],
  ...[
    'makefile',
    'gnumakefile',
    'cmakelists.txt',
    'cmakepresets.json',
    'justfile',
    'rakefile',
    'gemfile',
    'gruntfile.js',
  ],
  ...['gulpfile.js', 'taskfile.yml', 'taskfile.yaml', 'build.bazel', 'workspace.bazel', 'module.bazel', 'pom.xml'],
  ...[
    'build.gradle',
    'settings.gradle',
    'build.gradle.kts',
    'settings.gradle.kts',
    'gradle.properties',
    'build.xml',
    'build.sbt',
  ],
  ...[
    'cargo.toml',
    'build.rs',
    'go.mod',
    'go.work',
    'composer.json',
    'mix.exs',
    'package.swift',
    'podfile',
    'directory.build.props',
  ],
  ...[
    'directory.build.targets',
    'flake.nix',
    'shell.nix',
    'default.nix',
    'mise.toml',
    'devenv.nix',
    'procfile',
    'tiltfile',
  ],
  // containers, continuous integration, hooks
  ...[
    'dockerfile',
    'containerfile',
    'docker-compose.yml',
    'docker-compose.yaml',
    'compose.yml',
    'compose.yaml',
    'vagrantfile',
  ],
  ...[
    'jenkinsfile',
    'azure-pipelines.yml',
    'lefthook.yml',
    'lefthook.yaml',
    'dvc.yaml',
    'skaffold.yaml',
    'dangerfile.js',
  ],
]);

const PATTERNS = [
  // jest.config.ts, vite.config.mjs, eslint.config.js, … and jest.preset.js
  /\.(config|preset|workspace|setup)\.(js|cjs|mjs|ts|cts|mts|jsx|tsx)$/,
  /^(jest|babel|cypress|ava|swc|vitest)\.config\.(json|toml|ya?ml)$/,
  /^(ts|js)config(\.[^]*)?\.json$/,
  // What pytest and the test runners of JavaScript run.
  /^test_[^]*\.py$/,
  /^tests?\.py$/,
  /\.conf\.js$|\.config\.babel\.js$/,
  /\.tf(vars)?$/,
  // A shell's wildcard makes an option of it.
  /^-/,
  /_test\.py$/,
  /\.(test|spec|e2e|cy)\.(js|cjs|mjs|ts|cts|mts|jsx|tsx)$/,
  /^__tests__$/,
  /\.(csproj|fsproj|vbproj|vcxproj|sln|slnx|code-workspace|gemspec|xcodeproj|xcworkspace|opam|cabal)$/,
  /^(docker-)?compose\.[^]*\.ya?ml$/,
  /^dockerfile\./,
];

export interface ToolFile {
  why: string;
  /** It is held back even where git and Nx ignore the directory. */
  always: boolean;
  /** It is in the directory of a version control system, or of Nx. */
  control?: boolean;
}

/**
 * Whether a program would act on a file by its path; null where none does.
 * @param path any relative path; both kinds of slash separate names.
 */
export function toolFile(path: string): ToolFile | null {
  let found: ToolFile | null = null;
  for (const part of path.split(/[\\/]/)) {
    const name = foldName(part);
    const control = CONTROL.get(/^\.?([^]*?)(~\d+)?$/.exec(name)![1]);
    if (control && /^\.|~\d+$/.test(name)) return { why: control, always: true, control: true };
    if (IGNORE_FILES.has(name))
      return { why: 'it changes what git or Nx ignores, or how git reads files', always: true };
    if (found || INERT.has(name)) continue;
    if (name.startsWith('.'))
      found = { why: 'names that begin with a dot are the configuration of tools', always: false };
    else if (MANIFESTS.has(name) || PATTERNS.some((pattern) => pattern.test(name)))
      found = { why: 'tools act on a file of this name', always: false };
  }
  return found;
}

/** Names of which two in one directory, HEAD and another, make it a git repository. */
const BARE = new Set(['objects', 'refs', 'commondir']);

/**
 * The HEAD files that would make their directories git repositories, whose configuration git would believe.
 * @param paths relative paths of files that are, or will be, in one directory.
 */
export function bareRepositoryHeads(paths: readonly string[]): Set<string> {
  const heads = new Map<string, string[]>();
  const marked = new Set<string>();
  for (const path of paths) {
    const parts = path.split('/').map(foldName);
    parts.forEach((name, depth) => {
      const parent = parts.slice(0, depth).join('/');
      if (BARE.has(name)) marked.add(parent);
      if (name === 'head' && depth === parts.length - 1) heads.set(parent, [...(heads.get(parent) ?? []), path]);
    });
  }
  return new Set([...heads].filter(([directory]) => marked.has(directory)).flatMap(([, each]) => each));
}
