/**
 * Files that come from a run and that a program on this machine would act on by their names alone, when somebody works
 * in the directory that they lie in. The rule, for each part of a path:
 * - A name of a version control system's or Nx's own directory is never written; nor is what makes a directory a bare
 *   git repository, nor a file that changes what is ignored.
 * - A name that begins with a dot is some tool's configuration, but for the few in `INERT`.
 * - Project files of package managers, build files, files that Python imports by name, and `<tool>.config.<extension>`.
 * - What programs search for below the directory that they start in (`searchedBy`) is found in ignored directories too.
 * Names are compared as the most lenient file systems compare them.
 */

import { CONDA_FILES } from '../config/environment/dependency-files';
import { withoutIgnorable } from './name-folding';
import { searchedBy } from './searched-files';

/** A name as the most lenient of file systems reads it: case, Unicode forms, trailing dots and spaces, NTFS streams. */
export function foldName(name: string): string {
  return withoutIgnorable(withoutIgnorable(name).normalize('NFKC'))
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
/** The short names that NTFS gives these. */
const SHORT_IGNORE_FILES = /^(gitign|nxigno|gitatt|gitmod|(gi|nx)[0-9a-f]{4})~\d+$/;
/** What Windows takes for the name of another file, or of a device. */
const ALIASED_ON_WINDOWS = /:|[. ]$|^[^.]{1,8}~\d|^(con|prn|aux|nul|com\d|lpt\d|conin\$|conout\$) *(\.|$)/is;

/** Names with a dot at their beginning that no tool acts on. */
const INERT = new Set(['.hydra', '.gitkeep', '.keep', '.ipynb_checkpoints', '.ds_store']);

const TOOL_FILES = new Set([
  // Nx and this plugin
  ...['project.json', 'nx.json', 'workspace.json', 'angular.json', 'lerna.json', 'ec2.config.json'],
  // packages of JavaScript
  ...['package-lock.json', 'npm-shrinkwrap.json', 'yarn.lock', 'pnpm-lock.yaml', 'pnpm-workspace.yaml'],
  ...['bun.lock', 'bun.lockb', 'bunfig.toml', 'deno.json', 'deno.jsonc', 'jsr.json', 'rush.json', 'node_modules'],
  // Python
  ...['setup.py', 'setup.cfg', 'tox.ini', 'noxfile.py', 'pytest.ini', 'mypy.ini', 'pylintrc', 'ruff.toml'],
  ...['sitecustomize.py', 'usercustomize.py', 'pyvenv.cfg', 'pipfile', 'uv.toml', 'poetry.toml', 'pixi.toml'],
  ...['uv.lock', 'poetry.lock', 'pdm.lock', 'pixi.lock', 'pipfile.lock', 'conda-lock.yml'],
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
  ...['gulpfile.js', 'taskfile.yml', 'taskfile.yaml', 'pom.xml'],
  ...[
    'build.gradle',
    'settings.gradle',
    'build.gradle.kts',
    'settings.gradle.kts',
    'gradle.properties',
    'build.xml',
    'build.sbt',
  ],
  ...['build.rs', 'composer.json', 'mix.exs', 'package.swift', 'podfile', 'directory.build.props'],
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
  // read from the working directory by programs that are started in it
  ...['jupyter_config.py', 'jupyter_config.json', 'ipython_config.py', 'gunicorn.conf.py', 'ansible.cfg', 'mlproject'],
  ...['startup.m', 'startup.jl', 'project.toml', 'juliaproject.toml', 'localpreferences.toml', 'config.ru'],
  ...['build.ninja', 'xmake.lua', 'build.zig', 'nim.cfg', 'config.nims', 'dune-project', 'cmakeuserpresets.json'],
  ...[
    'rust-toolchain',
    'rust-toolchain.toml',
    'magefile.go',
    'foundry.toml',
    'rebar.config',
    'makefile.pl',
    'build.pl',
  ],
  ...['deps.edn', 'bb.edn', 'project.clj', 'shadow-cljs.edn', 'stack.yaml', 'cabal.project'],
  ...['turbo.jsonc', 'dprint.json', 'wrangler.toml'],
  ...['netlify.toml', 'vercel.json', 'wrangler.json', 'wrangler.jsonc', 'devbox.json', 'mise.local.toml', 'pants.toml'],
  ...['workspace.bzlmod', 'tupfile', 'pulumi.yaml', 'serverless.yml', 'terragrunt.hcl'],
  // environments and compiled modules, which Python takes before the sources beside them
  ...['venv', 'virtualenv', 'site-packages', '__pycache__', '__pypackages__'],
  ...['hatch.toml', 'hatch_build.py', 'pdm.toml', 'pyrightconfig.json'],
  ...[
    'makefile.am',
    'bsdmakefile',
    'jakefile',
    'cakefile',
    'caddyfile',
    'capfile',
    'thorfile',
    'fastfile',
    'puppetfile',
  ],
  ...['appraisals', 'steepfile', 'rakefile.rb', 'lefthook-local.yml', 'lefthook-local.yaml', 'lefthook.toml'],
  ...['nodemon.json', 'nest-cli.json', 'firebase.json', 'serverless.yaml', 'serverless.json', 'docker-bake.hcl'],
  ...['docker-bake.json', 'mkdocs.yml', 'mkdocs.yaml', 'book.toml', 'alembic.ini', 'celeryconfig.py'],
  ...['cargo.lock', 'gemfile.lock', 'composer.lock', 'go.sum', 'mix.lock', 'renv.lock', 'vcpkg.json', 'conanfile.txt'],
  ...['phpunit.xml', 'phpunit.xml.dist', 'captainhook.json', 'grumphp.yml', 'pubspec.yaml', 'analysis_options.yaml'],
  ...['azure-pipelines.yaml', 'bitbucket-pipelines.yml', 'cloudbuild.yaml', 'buildspec.yml', 'appveyor.yml'],
  ...['gradle-wrapper.properties', 'gradle-wrapper.jar', 'codegen.yml', 'codegen.ts', 'typedoc.json'],
  ...['lefthook.json', 'msbuild.rsp', 'directory.build.rsp', 'directory.packages.props', 'autorun.inf'],
  ...['tox.toml', 'pylintrc.toml', 'locustfile.py', 'invoke.yaml', 'invoke.yml', 'invoke.json', 'gems.rb'],
  ...['jamroot', 'jamfile', 'setup.hs', 'setup.lhs', 'conf.py', 'manage.py', 'activate.r', 'web.config', 'php.ini'],
  ...['gems.locked', 'makefile.toml', 'sconscript', 'init.gradle', 'init.gradle.kts', 'webpack.mix.js', 'mod.just'],
  ...['truffle-config.js', 'bake.hcl', 'nox.toml', 'invoke.py', 'kustomization.yaml', 'helmfile.yaml'],
]);
/** Environments are made of them where they lie in a project's directory; in others they tell of a model. */
const ENVIRONMENTS = new Set(['requirements.txt', ...CONDA_FILES]);

/** What a shell sources or starts of an environment; directories of these names are common. */
const PROGRAMS = /^(activate(\.[a-z]+)?|(python|pypy|pip)[\d.]*)$/;

const PATTERNS = [
  // Python takes a compiled module before the source beside it.
  /\.(so|pyd)$/,
  // jest.config.ts, vite.config.mjs, eslint.config.js, … and jest.preset.js
  /\.(config|preset|workspace|setup)\.(js|cjs|mjs|ts|cts|mts|jsx|tsx)$/,
  /^(jest|babel|cypress|ava|swc|vitest)\.config\.(json|toml|ya?ml)$/,
  /^(ts|js)config(\.[^]*)?\.json$/,
  /\.conf\.(js|cjs|mjs|ts|cts|mts)$|\.config\.babel\.js$/,
  /\.(tf|tofu|tfvars)(\.json)?$/,
  /^(gulp|grunt|jake|knex|plop|cake)file\.[^]+$/,
  /\.(mk|cake|jam)$/,
  /^phpstan\.[^]*$/,
  /^_(targets|config|quarto|site|bookdown)\.(r|ya?ml)$/,
  /^taskfile(\.dist)?\.ya?ml$/,
  /^jupyter_[^]*_config\.(py|json)$/,
  // Modules that were compiled.
  /\.py[co]$/,
  // Python on Windows reads its paths from it.
  /\._pth$/,
  // Windows looks for programs in the working directory first.
  /\.(exe|com|bat|cmd|ps1|vbs|lnk|scf|url)$/,
  // A shell's wildcard makes an option of it.
  /^-/,
  /\.([a-z]*proj|sln|slnx|code-workspace|gemspec|xcodeproj|xcworkspace|opam|cabal)$/,
  /^(docker-)?compose\.[^]*\.ya?ml$/,
  /^dockerfile\.|\.(docker|container)file$/,
  /^(procfile|dangerfile)\./,
  /^gatsby-(config|node|browser|ssr)\./,
];

export interface ToolFile {
  why: string;
  /** It is held back even where git and Nx ignore the directory. */
  always: boolean;
  /** Tools search for it below the directory that they are started in, whether git ignores it or not. */
  searched?: boolean;
  /** It is in the directory of a version control system, or of Nx. */
  control?: boolean;
  /** The directory that holds the name which tools look for, with a slash at its end; '' at the top. */
  directory: string;
}

/**
 * Whether a program would act on a file by its path; null where none does.
 * @param path any relative path; both kinds of slash separate names.
 */
export function toolFile(path: string, platform: NodeJS.Platform = process.platform): ToolFile | null {
  let found: ToolFile | null = null;
  let next = 0;
  const above: string[] = [];
  for (const part of path.split(/[\\/]/)) {
    const directory = path.slice(0, path.lastIndexOf('/', next - 1) + 1);
    next += part.length + 1;
    const name = foldName(part);
    const control = CONTROL.get(/^\.?([^]*?)(~\d+)?$/.exec(name)![1]);
    if (control && /^\.|~\d+$/.test(name)) return { why: control, always: true, control: true, directory };
    if (platform === 'win32' && (ALIASED_ON_WINDOWS.test(part) || ALIASED_ON_WINDOWS.test(part.normalize('NFKC'))))
      return { why: 'Windows takes it for the name of another file', always: true, directory };
    if (IGNORE_FILES.has(name) || SHORT_IGNORE_FILES.test(name))
      return { why: 'it changes what git or Nx ignores, or how git reads files', always: true, directory };
    const isFile = next > path.length;
    const searched = INERT.has(name) ? null : searchedBy(name, above, isFile);
    above.push(name);
    if (INERT.has(name)) continue;
    if (searched !== null) found = { why: searched, always: false, searched: true, directory };
    else if (found) continue;
    else if (name.startsWith('.'))
      found = { why: 'names that begin with a dot are the configuration of tools', always: false, directory };
    else if (
      TOOL_FILES.has(name) ||
      (isFile && PROGRAMS.test(name)) ||
      (path === part && ENVIRONMENTS.has(name)) ||
      PATTERNS.some((pattern) => pattern.test(name))
    )
      found = { why: 'tools act on a file of this name', always: false, directory };
  }
  return found;
}

/** Names of which one, beside a HEAD, makes their directory a git repository. */
const BARE = ['objects', 'refs', 'commondir'];
/** What git reads of a repository, or runs. */
const PARTS = new Set([...BARE, 'config', 'config.worktree', 'hooks']);

/**
 * The files that would make their directories git repositories, whose configuration git would believe: HEAD, or where a
 * HEAD is there already, what belongs beside it.
 * @param paths relative paths of files that will be in one directory.
 * @param isThere whether a path is in that directory already.
 */
export function bareRepositoryFiles(
  paths: readonly string[],
  isThere: (path: string) => boolean = () => false,
): Set<string> {
  const heads: { path: string; parent: string; directory: string }[] = [];
  const marked = new Set<string>();
  const found = new Set<string>();
  const known = new Map<string, boolean>();
  const isThereOnce = (path: string) => {
    if (!known.has(path)) known.set(path, isThere(path));
    return known.get(path)!;
  };
  for (const path of paths) {
    const parts = path.split('/');
    const names = parts.map(foldName);
    names.forEach((name, depth) => {
      const parent = parts
        .slice(0, depth)
        .map((part) => `${part}/`)
        .join('');
      const directory = names.slice(0, depth).join('/');
      if (BARE.includes(name)) marked.add(directory);
      if (name === 'head' && depth === parts.length - 1) heads.push({ path, parent, directory });
      if (PARTS.has(name) && isThereOnce(`${parent}HEAD`)) found.add(path);
    });
  }
  for (const { path, parent, directory } of heads)
    if (marked.has(directory) || BARE.some((name) => isThereOnce(`${parent}${name}`))) found.add(path);
  return found;
}
