/**
 * Names that programs search for below the directory in which they start, whatever git ignores: nobody has to start
 * anything in the directory of the file. Names are folded (`foldName`).
 */

const SCRIPT = '(js|cjs|mjs|ts|cts|mts|jsx|tsx)';

/** Directories in which node, ava, tap, jest, deno and others run every file that they can run. */
const TEST_DIRECTORIES = new Set(['test', 'tests', 'spec', 'specs', '__tests__', 'e2e', 'cypress', 't']);
/** What they run there; a data set below `test/` has other files. */
const RUN_IN_TEST_DIRECTORIES = new RegExp(
  `\\.(${SCRIPT}|coffee|rb|exs?|erl|bats|t|phpt?|dart|lua|jl|r|rs|nim|clj|kts?|java|scala|groovy|swift)$`,
);

const TESTS = [
  // pytest, unittest, Django
  /^conftest\.py$/,
  /^test[^]*\.py$/,
  /_tests?\.py$/,
  // node, jest, vitest, bun, deno, ava, playwright, cypress
  new RegExp(`^(tests?|spec|bench|e2e)\\.${SCRIPT}$`),
  new RegExp(`^test-[^]*\\.${SCRIPT}$`),
  new RegExp(`[-._](tests?|spec|e2e|cy|bench)\\.${SCRIPT}$`),
  /^__tests__$/,
  // minitest and rspec, mix, go, dart, bats, PHPUnit and Codeception, busted, crystal, testthat, Robot Framework, rebar
  /^test_[^]*\.rb$/,
  /_(test|spec)\.(rb|exs|dart|lua|cr)$/,
  /^(test|spec)_helper\.(rb|exs)$/,
  /\.(bats|phpt|robot)$/,
  /(test|cest)\.php$/,
  /^test[-_][^]*\.r$/,
  /_suite\.erl$/,
];

const BUILDS = [
  /^package\.(json|json5|yaml)$/,
  /^(pyproject|cargo)\.toml$/,
  // `go generate ./...` runs commands that any source names; `dotnet build` compiles every source
  /^go\.(mod|work)$/,
  /\.(go|cs|vb)$/,
  // Bazel, Buck, Pants, Please and GN
  /^(build|workspace|module)\.bazel$/,
  /^build\.(pants|plz|gn)$/,
  /^buck(\.v2)?$/,
];
/** Bazel and Pants read files of these names; directories of these names are common. */
const BUILD_FILES = new Set(['build', 'workspace']);

/** Linters and formatters load configuration of the directory of each file that they read, and code that it names. */
const LINTERS = [
  // Shells and package managers read theirs in the directory in which they start.
  /^\.(?!(env|npm|yarn|conda|bash|zsh)rc)[^]*(rc|lint|format)(-[^.]*)?(\.[^]*)?$/,
  /^\.[^]*\.(js|cjs|mjs|ts|cts|mts|php|rb|py)$/,
  /^\.(rubocop|golangci|cspell|php-cs-fixer|sqlfluff|pre-commit|lintstaged|commitlint)[^]*$/,
  /^(eslint|stylelint|prettier|commitlint|lint-staged|cspell|secretlint|markdownlint[^.]*|oxlint|biome)\.config\.[^]*$/,
  /^(cspell|biome)\.jsonc?$/,
];

/** Coding assistants follow the instructions in these, and start the programs that they name. */
const ASSISTANTS = [
  /^(claude|agents?|gemini|qwen|crush|warp|jules|iflow|kimi|codex|skill|copilot-instructions)(\.(local|override))?\.md$/,
  /\.(instructions|prompt|chatmode|agent)\.md$/,
  /^(mcp|crush|\.mcp|\.crush)\.json$/,
  /^\.?opencode(\.jsonc?)?$/,
  /^\.(claude|cursor|windsurf|cline|roo|kiro|codex|gemini|qwen|continue|junie|amazonq|augment|aider|goose|agents?)[^]*$/,
  /^\.(rules|clinerules|[a-z]*rules|goosehints)$/,
];

/**
 * Why a program searches for a file or a directory with this name; null where none does.
 * @param name one name of a path, folded.
 * @param above the names of the directories above it, folded.
 */
export function searchedBy(name: string, above: readonly string[], isFile: boolean): string | null {
  const isIn = (patterns: readonly RegExp[]) => patterns.some((pattern) => pattern.test(name));
  if (isIn(TESTS)) return 'test runners search for files of this name';
  if (isFile && RUN_IN_TEST_DIRECTORIES.test(name) && above.some((directory) => TEST_DIRECTORIES.has(directory)))
    return 'test runners run files of this kind in a directory of this name';
  // unittest imports the packages directly below the directory in which it starts, and the packages in them.
  if (isFile && name === '__init__.py' && above.length <= 2)
    return 'test runners import packages below their directory';
  if (isIn(BUILDS) || (isFile && BUILD_FILES.has(name)))
    return 'build tools and package managers search for files of this name';
  if (isIn(LINTERS)) return 'linters read their configuration from files of this name';
  if (isIn(ASSISTANTS)) return 'coding assistants follow instructions in files of this name';
  return null;
}
