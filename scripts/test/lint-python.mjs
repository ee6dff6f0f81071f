// The Python part of `npm run lint`, and with --write of `npm run format`: ruff (rules and format) and pyright (types), both from npm.
// pyproject.toml has their configuration.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import picomatch from 'picomatch';
import { parse } from 'smol-toml';

const require = createRequire(import.meta.url);
const { PositionEncoding, Workspace } = require('@astral-sh/ruff-wasm-nodejs');

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const { ruff } = parse(readFileSync(join(root, 'pyproject.toml'), 'utf8')).tool;
const write = process.argv.includes('--write');

/** ruff compiled to WebAssembly reads no files: what its configuration says of paths is applied here. */
const ignoresOf = Object.entries(ruff.lint['per-file-ignores']).map(([glob, codes]) => [picomatch(glob), codes]);
const isExcluded = picomatch(ruff.exclude);
const workspaces = new Map();

function workspaceFor(path) {
  const ignored = ignoresOf.flatMap(([matches, codes]) => (matches(path) ? codes : []));
  const name = ignored.join();
  if (!workspaces.has(name)) {
    const rules = without(ruff.lint, 'per-file-ignores');
    const lint = { ...rules, ignore: [...rules.ignore, ...ignored] };
    const options = { ...without(ruff, 'exclude'), lint };
    workspaces.set(name, new Workspace(options, PositionEncoding.Utf16));
  }
  return workspaces.get(name);
}

function without(table, ...keys) {
  return Object.fromEntries(Object.entries(table).filter(([key]) => !keys.includes(key)));
}

function pythonFiles() {
  const arguments_ = ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '*.py'];
  const listed = execFileSync('git', arguments_, { cwd: root, encoding: 'utf8' });
  return listed.split('\0').filter((path) => path && !isExcluded(path) && existsSync(join(root, path)));
}

/** The problems of one file, as lines. */
function check(path) {
  const source = readFileSync(join(root, path), 'utf8');
  const workspace = workspaceFor(path);
  const formatted = workspace.format(source);
  if (write && formatted !== source) writeFileSync(join(root, path), formatted);
  const problems = workspace.check(write ? formatted : source);
  return [
    ...problems.map(
      ({ code, message, start_location: { row, column } }) => `${path}:${row}:${column} ${code} ${message}`,
    ),
    ...(formatted === source || write ? [] : [`${path} is not formatted: npm run format`]),
  ];
}

const problems = pythonFiles().flatMap(check);
if (problems.length) console.error(problems.join('\n'));
const failed = write
  ? 0
  : spawnSync(process.execPath, [require.resolve('pyright')], { cwd: root, stdio: 'inherit' }).status;
process.exit(problems.length || failed ? 1 : 0);
