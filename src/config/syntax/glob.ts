import { posix } from 'node:path';
import picomatch from 'picomatch';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { GLOB, globSource } from './glob-expression';
import { ambiguousRepetition, wildcardsInName } from './repetition';

const WORKSPACE = '{workspaceRoot}/';
/** Bounds that keep a backtracking matcher fast, whatever the path: docs/explanation/trust.md. */
const MAX_LENGTH = 512;
const MAX_STARS = 4;
const MAX_GLOBSTARS = 3;
/** Wildcards that each can match a path in many ways: a path of 4,096 characters takes a second with two of them. */
const MAX_AMBIGUOUS = 2;
const MAX_ALTERNATIVES = 1024;
const MAX_GROUPS = 2;
const MAX_DEPTH = 3;
/** Characters of the longest name and path on any file system. */
const MAX_NAME = 255;
const MAX_PATH = 4096;
const NAME_TOO_LONG = new RegExp(`[^/]{${MAX_NAME + 1}}`, 'u');

/** A pattern and the directory that it is relative to. The directory is a path: no character of it is a wildcard. */
export interface RootedGlob {
  /** As the user wrote it. */
  written: string;
  /** Workspace-relative; empty for the workspace's root. */
  root: string;
  /** Relative to `root`; empty for `root` itself. */
  pattern: string;
}

/**
 * A glob of the configuration, which is relative to its project or begins with `{workspaceRoot}/`. Each `..` at its
 * start leads one directory up.
 * @returns null where it is outside the workspace.
 */
export function rootedGlob(projectRoot: string, written: string): RootedGlob | null {
  const isAnchored = written.startsWith(WORKSPACE);
  let root = isAnchored || projectRoot === '.' ? '' : projectRoot;
  let pattern = posix.normalize(isAnchored ? written.slice(WORKSPACE.length) : written);
  for (; pattern === '..' || pattern.startsWith('../'); pattern = pattern.slice(3)) {
    if (root === '') return null;
    root = parentOf(root);
  }
  if (posix.isAbsolute(pattern)) return null;
  pattern = pattern.replace(/\/$/, '');
  return { written, root, pattern: pattern === '.' ? '' : pattern };
}

/** Whether a workspace-relative path is what a glob names: by its wildcards, or literally, with everything below it. */
export type PathMatcher = (path: string) => boolean;

/** @throws Problem `GLOB_INVALID` */
export function globMatcher({ root, pattern }: RootedGlob, options: { nocase?: boolean } = {}): PathMatcher {
  const matches = patternMatcher(pattern, options);
  if (root === '') return matches;
  const inside = `${root}/`;
  return (path) => {
    if (path.startsWith(inside)) return matches(path.slice(inside.length));
    return path === root && matches('');
  };
}

/**
 * Matches a pattern at any depth: what holds for a project holds for every other one whose files are sent along.
 * Upper and lower case are the same. A pattern that begins with `{workspaceRoot}/` is relative to that alone. What
 * names a directory, with wildcards or without, names all that is in it; the project's own directory is no secret.
 */
export function secretMatcher(projectRoot: string, patterns: readonly string[]): PathMatcher {
  const matchers = patterns.map((written): PathMatcher => {
    const glob = rootedGlob(projectRoot, written);
    if (glob === null) return () => false;
    const rooted = globMatcher(glob, { nocase: true });
    if (written.startsWith(WORKSPACE)) return rooted;
    const matches = patternMatcher(glob.pattern, { nocase: true });
    return (path) => rooted(path) || suffixes(path).some(matches);
  });
  const above = new Set(directoriesOf(`${projectRoot}/`));
  return (path) => {
    const paths = [path, ...directoriesOf(path).filter((directory) => !above.has(directory))];
    return matchers.some((matches) => paths.some(matches));
  };
}

/** Whether a path, relative to where the pattern is, is what the pattern names. */
function patternMatcher(pattern: string, { nocase = false }: { nocase?: boolean } = {}): PathMatcher {
  if (pattern === '') return () => true;
  assertGlob(pattern);
  const fold = (text: string) => (nocase ? text.toLowerCase() : text);
  const literals = [...new Set([fold(pattern), fold(withoutEscapes(pattern))])].map((path) => [path, `${path}/`]);
  const isLiteral = (path: string) => literals.some(([each, inside]) => path === each || path.startsWith(inside));
  if (!isGlob(pattern)) return (path) => isLiteral(fold(path));
  const expression = new RegExp(globSource(pattern), nocase ? 'is' : 's');
  return (path) => (canExist(path) && expression.test(path)) || isLiteral(fold(path));
}

/** Whether a file system can hold a path. Others come from lists that somebody has made, and take wildcards long. */
function canExist(path: string): boolean {
  return path.length <= MAX_NAME || (path.length <= MAX_PATH && !NAME_TOO_LONG.test(path));
}

/** The directory that a glob is to be looked for in, workspace-relative. */
export function globBase({ root, pattern }: RootedGlob): string {
  if (pattern === '') return root || '.';
  const base = isGlob(pattern) ? picomatch.scan(pattern, { ...GLOB, unescape: true }).base : withoutEscapes(pattern);
  return posix.join(root, base) || '.';
}

/** Whether a pattern has wildcards. */
export function isGlob(pattern: string): boolean {
  return picomatch.scan(pattern, GLOB).isGlob;
}

/**
 * A glob as a regular expression, for JavaScript and Python alike, that the instance matches whole paths with; `.` is any
 * character. A path that is equal to the glob matches, whatever it holds.
 */
export function portableExpression(pattern: string): string {
  assertGlob(pattern);
  const source = globSource(pattern);
  // In Python, `$` is also before a line break at the end.
  const portable = source.replace(/\\[^]|\[(?:\\[^]|[^\]\\])*\]|\$/g, (token) =>
    token === '$' ? '(?![\\s\\S])' : token,
  );
  return `(?:${escapeExpression(pattern)}|${portable})`;
}

/**
 * Refuses a pattern that a backtracking matcher could need exponential time for.
 * @throws Problem `GLOB_INVALID`
 */
export function assertGlob(pattern: string): void {
  const why = globFault(pattern);
  if (why === null) return;
  const shown = pattern.length > 100 ? `${pattern.slice(0, 100)}…` : pattern;
  throw new Problem('GLOB_INVALID', `The pattern ${sanitizeForTerminal(shown)} ${why}.`, {
    next: 'Write several simpler patterns.',
  });
}

function globFault(pattern: string): string | null {
  if (pattern.length > MAX_LENGTH) return `is longer than ${MAX_LENGTH} characters`;
  // Escaped characters are plain, classes match one character.
  const plain = pattern.replace(/\\[^]/g, '_').replace(/\[[!^]?\]?[^\]]*\]/g, '?');
  let depth = 0;
  for (const char of plain) {
    if ('({'.includes(char) && ++depth > MAX_DEPTH) return `nests groups more than ${MAX_DEPTH} deep`;
    if (')}'.includes(char) && depth > 0) depth--;
  }
  if (/\)[*+?{]/.test(plain)) return 'repeats a group: write +(…) or *(…)';
  const groups = [...plain.matchAll(/([+*!])\(([^()]*)([()]?)/g)];
  for (const [, kind, body, end] of groups) {
    if (end === '(') return `nests a group in ${kind}(…)`;
    if (kind !== '!' && !isUnambiguous(body)) return `can match the same text by ${kind}(${body}) in several ways`;
  }
  if ((plain.match(/\*{2,}/g) ?? []).length > MAX_GLOBSTARS) return `has more than ${MAX_GLOBSTARS} times "**"`;
  for (const part of plain.split('/')) {
    if ((part.match(/[+*!]\(/g) ?? []).length > MAX_GROUPS)
      return `has more than ${MAX_GROUPS} of the groups +(…), *(…) and !(…) in one name`;
    if ((part.match(/[*+]+/g) ?? []).length > MAX_STARS) return `has more than ${MAX_STARS} wildcards in one name`;
  }
  if (ambiguous(plain) > MAX_AMBIGUOUS) return 'has too many wildcards that can match the same path in several ways';
  if (alternatives(plain) > MAX_ALTERNATIVES) return `has more than ${MAX_ALTERNATIVES} alternatives`;
  return expressionFault(pattern);
}

/** The same of the expression itself, which can hold what the text of a glob does not show. */
function expressionFault(pattern: string): string | null {
  let source: string;
  try {
    source = globSource(pattern);
  } catch (error) {
    return `can't be read: ${(error as Error).message}`;
  }
  const repeated = ambiguousRepetition(source);
  if (repeated !== null) return `can match the same text by the repeated ${repeated} in several ways`;
  if (wildcardsInName(source) > MAX_STARS) return `has more than ${MAX_STARS} wildcards in one name`;
  return null;
}

/** How many wildcards a matcher may have to try again: "**" before something else, and a second "*" behind a group. */
function ambiguous(plain: string): number {
  const parts = plain.split('/');
  const globstars = parts.slice(0, -1).filter((part) => part.includes('**')).length;
  const stars = parts.map((part) => {
    const wild = part === '**' ? '' : part.replace(/\*{2,}/g, '*').replace(/\*[^*+!@()|{}]+(?=\*)/g, '');
    return Math.max(0, (wild.match(/[*+]+/g) ?? []).length - 1);
  });
  return stars.reduce((sum, each) => sum + each, globstars);
}

/** In how many ways the alternatives of a pattern's groups can be chosen. */
function alternatives(plain: string): number {
  const open = [1];
  let product = 1;
  for (const char of plain) {
    if ('({'.includes(char)) open.push(1);
    else if ('|,'.includes(char)) open[open.length - 1]++;
    else if (')}'.includes(char) && open.length > 1) product *= open.pop()!;
  }
  return product;
}

/** Whether repeated alternatives can match a text in one way at most: none is the beginning of another. */
function isUnambiguous(body: string): boolean {
  if (body === '?') return true;
  const alternatives = body.split('|');
  return (
    !/[*?+{}/@!]/.test(body) &&
    alternatives.every(
      (each, at) => each !== '' && alternatives.every((other, of) => at === of || !other.startsWith(each)),
    )
  );
}

/** The directories that a path is in. */
function directoriesOf(path: string): string[] {
  const parts = path.split('/');
  return parts.slice(1).map((_, depth) => parts.slice(0, depth + 1).join('/'));
}

/** A path without its first 0, 1, 2, … directories. */
function suffixes(path: string): string[] {
  const parts = path.split('/');
  return parts.map((_, at) => parts.slice(at).join('/'));
}

function parentOf(directory: string): string {
  const parent = posix.dirname(directory);
  return parent === '.' ? '' : parent;
}

function withoutEscapes(pattern: string): string {
  return pattern.replace(/\\([^])/g, '$1');
}

/** ASCII punctuation alone is escaped: JavaScript and Python read that the same. */
function escapeExpression(text: string): string {
  return text.replace(/[!-/:-@[-`{-~ ]/g, '\\$&');
}
