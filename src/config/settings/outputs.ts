import { posix } from 'node:path';
import { byDirectory } from '../syntax/by-directory';
import { assertGlob, globBase, globMatcher, isGlob, portableExpression, type PathMatcher } from '../syntax/glob';

/** How the name of a pointer ends, which comes back in the place of an artifact that stays in the store. */
export const POINTER = '.nx-ec2.json';
/** The directory that is an output of every training: NX_EC2_OUTPUT_DIR. Project-relative. */
export const OUTPUT_DIRECTORY = 'artifacts';

export interface Output {
  /** A file, a directory or a glob, project-relative, normalized, without a slash at its end. */
  path: string;
  /** Whether it comes back by itself. */
  download: boolean;
}

/** An entry of `train.outputs` as it is written. */
export type WrittenOutput = string | { path: string; download?: boolean };

/** Entries as they are written, normalized. */
export function readOutputs(written: readonly WrittenOutput[]): Output[] {
  return written.map((each) => {
    const { path, download = true } = typeof each === 'string' ? { path: each } : each;
    return { path: posix.normalize(path).replace(/\/$/, ''), download };
  });
}

/** `train.outputs` with the output directory, which is always one. @param written undefined: the default. */
export function allOutputs(written: readonly WrittenOutput[] = []): Output[] {
  const outputs = readOutputs(written);
  const hasDefault = outputs.some(({ path }) => path === OUTPUT_DIRECTORY);
  return hasDefault ? outputs : [...outputs, { path: OUTPUT_DIRECTORY, download: true }];
}

/** `train.checkpoints.paths`, normalized: they have the form of outputs. */
export function checkpointPaths(train: { checkpoints?: { paths?: readonly string[] } }): Output[] {
  return readOutputs(train.checkpoints?.paths ?? []);
}

/** The paths that a training writes its outputs and its checkpoints to: git-ignored files in them are not sent. */
export function writtenPaths(train: {
  outputs?: readonly WrittenOutput[];
  checkpoints?: { paths?: readonly string[] };
}): Output[] {
  return [...allOutputs(train.outputs), ...checkpointPaths(train)];
}

/** Names of files, and of directories, that have nothing in common but their dots: only a glob that means any name has all. */
export const ANY_FILES = ['bravo_1.py', 'kumquat.json', 'zephyr-9.csv', 'lodging.toml'];
export const ANY_DIRECTORIES = ['lib', 'configs', 'quartz_2', 'hymn-7'];
/** An output is tried on paths of so many names, or of as many as it has itself. */
const MAX_OUTPUT_DEPTH = 3;

/** What is wrong with an output; null: nothing. */
export function outputFault({ path }: Output): string | null {
  if (posix.isAbsolute(path) || path === '..' || path.startsWith('../')) return 'is not inside the project';
  if (path === '.' || path === '') return 'is the whole project';
  assertGlob(path);
  return namesEverything(path) ? 'is the whole project' : null;
}

/**
 * Whether a glob names all files, or all directories, at some depth: `*`, and also `?*`, `{,*}`, `[a-z]*`, `!(x)`, `*.*`.
 * Nx removes outputs before it restores them from its cache: it would remove the sources.
 */
function namesEverything(pattern: string): boolean {
  if (!isGlob(pattern)) return false;
  const matches = globMatcher({ root: '', written: '', pattern });
  const depth = Math.max(MAX_OUTPUT_DEPTH, pattern.split('/').length);
  return Array.from({ length: depth }, (_, above) =>
    [ANY_FILES, ANY_DIRECTORIES].some((names) =>
      names.every((name, at) => matches([...Array<string>(above).fill(ANY_DIRECTORIES[at]), name].join('/'))),
    ),
  ).some(Boolean);
}

/**
 * The first output that names a project-relative path: the path itself, or a directory that it is in, by the text of the
 * output or by its wildcards.
 */
export function outputFinder(outputs: readonly Output[]): (path: string) => Output | undefined {
  const rules = outputs.map((output) => ({
    output,
    matches: globMatcher({ root: '', written: '', pattern: output.path }),
  }));
  const ofDirectory = byDirectory((directory) => (directory === '.' ? undefined : find(directory)));
  const find = (path: string): Output | undefined => {
    const above = ofDirectory(path);
    const own = rules.find(({ matches }) => matches(path))?.output;
    if (!above || !own) return own ?? above;
    return outputs.indexOf(own) < outputs.indexOf(above) ? own : above;
  };
  return find;
}

/** Whether a workspace-relative path is an output of the project. */
export function outputMatcher(projectRoot: string, outputs: readonly Output[]): PathMatcher {
  const find = outputFinder(outputs);
  const own = projectRoot === '.' ? '' : `${projectRoot}/`;
  return (path) => path.startsWith(own) && find(path.slice(own.length)) !== undefined;
}

/** Outputs without wildcards: directories, or files. */
export function literalOutputs(outputs: readonly Output[]): string[] {
  return outputs.map(({ path }) => path).filter((path) => !isGlob(path));
}

/** An output as the instance matches it: docs/reference/formats.md, "Plan". */
export function outputRule({ path }: Output): { pattern: string; base: string } {
  const base = globBase({ root: '', written: '', pattern: path });
  return { pattern: portableExpression(path), base: base === '.' ? '' : base };
}
