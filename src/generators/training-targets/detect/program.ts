import { posix } from 'node:path';
import { scriptArguments, type ScriptArgument } from './arguments';
import { pathValue, type LookUp } from './path-value';
import type { ProjectFiles } from './project-files';
import { languageOf, readSource } from './source';
import type { Call, Range, Source } from './source-types';

/** The sources that a training consists of: its script and those of the project's files that it imports or runs. */
export interface Program {
  sources: Source[];
  arguments: { source: Source; argument: ScriptArgument }[];
  /** A path or part of one, `UNKNOWN` for what is not known. */
  value(source: Source, range: Range): string | null;
}

/** Reads a script and what it imports. @param scripts project-relative; the first is where the training begins. */
export function readProgram(files: ProjectFiles, scripts: readonly string[]): Program {
  const sources = new Map<string, Source>();
  const known = new Set(files.paths);
  const directories = [...new Set(['', 'src', ...scripts.map((path) => posix.dirname(path))])];
  const queue = [...scripts];
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    if (sources.has(path) || !known.has(path)) continue;
    const text = files.read(path);
    if (text === null) continue;
    if (path.endsWith('.sh')) {
      queue.push(...scriptsIn(text).filter((each) => known.has(each)));
      continue;
    }
    if (languageOf(path) === null) continue;
    const source = readSource(path, text);
    sources.set(path, source);
    for (const found of importedFiles(source, known, directories)) queue.push(found);
    // A step that is started as a program of its own.
    for (const token of source.tokens)
      if (token.kind === 'string' && known.has(token.text) && languageOf(token.text) === source.language)
        queue.push(token.text);
    if (namesModulesInText(source))
      queue.push(...files.paths.filter((each) => languageOf(each) === 'python' && !isTest(each)));
  }
  const all = [...sources.values()];
  const declared = all.flatMap((source) => scriptArguments(source).map((argument) => ({ source, argument })));
  return { sources: all, arguments: declared, value: evaluator(all, declared) };
}

/** Words of a shell script that name scripts. */
function scriptsIn(text: string): string[] {
  return [...text.matchAll(/(?:^|[\s"'=])((?:[\w.-]+\/)*[\w.-]+\.(?:py|R|r|jl|js|mjs))(?=$|[\s"';])/gm)].map(
    ([, path]) => posix.normalize(path),
  );
}

export function isTest(path: string): boolean {
  return /(?:^|\/)(?:tests?\/|test_[^/]*$|conftest\.py$|setup\.py$|noxfile\.py$)|_test\.py$|\.(?:spec|test)\.[a-z]+$/.test(
    path,
  );
}

/** Whether modules are found by names in configuration, as Hydra's `_target_` does. */
function namesModulesInText({ imports }: Source): boolean {
  return imports.some(({ module }) => /^(?:hydra|importlib)(?:\.|$)/.test(module));
}

function importedFiles(
  { path, imports }: Source,
  known: ReadonlySet<string>,
  directories: readonly string[],
): string[] {
  return imports.flatMap(({ module, names }) => {
    const dots = /^\.*/.exec(module)![0].length;
    const parts = module.slice(dots).split('.').filter(Boolean);
    const bases =
      dots > 0
        ? [posix.join(posix.dirname(path), ...Array<string>(dots - 1).fill('..'))]
        : [...new Set([posix.dirname(path), ...directories])];
    const modules = [parts, ...names.map((name) => [...parts, name])].filter((each) => each.length > 0);
    return modules.flatMap((each) => {
      const candidates = bases.flatMap((base) => {
        const stem = posix.join(base, ...each);
        return [`${stem}.py`, `${stem}/__init__.py`];
      });
      const found = candidates.find((candidate) => known.has(candidate));
      return found ? [found] : [];
    });
  });
}

function evaluator(sources: Source[], declared: Program['arguments']): Program['value'] {
  const memory = new Map<string, string | null>();
  const looking = new Set<string>();
  /** The value that a source gives to a name, if it is the only one. */
  const own = (source: Source, name: string, nesting: number): string | null => {
    const key = `${source.path}\0${name}`;
    const before = memory.get(key);
    if (before !== undefined) return before;
    // A name that is given a value made of itself.
    if (looking.has(key)) return null;
    looking.add(key);
    const ranges = [
      ...(source.values.get(name) ?? []),
      ...declared
        .filter((each) => each.source === source && each.argument.name === name)
        .map(({ argument }) => argument.default),
    ];
    const values = new Set<string>();
    for (const range of ranges.slice(0, 20)) {
      const value = range && pathValue(source, range, lookUpIn(source), nesting);
      if (value) values.add(value);
    }
    looking.delete(key);
    const value = values.size === 1 ? [...values][0] : null;
    memory.set(key, value);
    return value;
  };
  const lookUpIn =
    (source: Source): LookUp =>
    (name, nesting) => {
      if (nesting > 12) return null;
      const here = own(source, name, nesting);
      if (here !== null || source.values.has(name)) return here;
      const elsewhere = new Set(sources.map((other) => own(other, name, nesting)).filter((value) => value !== null));
      return elsewhere.size === 1 ? [...elsewhere][0] : null;
    };
  return (source, range) => pathValue(source, range, lookUpIn(source));
}

/** An argument of a call by its keyword or its position. */
export function argumentOf(call: Call, keyword: string, position: number): Range | null {
  const positional = call.args.filter((each) => each.keyword === null);
  return call.args.find((each) => each.keyword === keyword)?.value ?? positional[position]?.value ?? null;
}
