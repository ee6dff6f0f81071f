import picomatch from 'picomatch';
import { GLOB } from '../syntax/glob-expression';

/** Matches what a project's own documents and tests are called, relative to the root of the project. */
const PATTERNS: [pattern: string, why: string][] = [
  ['README*', 'a document'],
  ['CHANGELOG*', 'a document'],
  ['LICEN[CS]E*', 'a document'],
  ['tests/**/*', 'a test'],
  ['**/test_*.py', 'a test'],
  ['**/*_test.py', 'a test'],
  ['**/*.ipynb', 'a notebook'],
  ['**/.gitignore', 'for git alone'],
  ['**/.gitattributes', 'for git alone'],
  ['**/.nxignore', 'for Nx alone'],
  ['ec2.config.json', "nx-ec2's configuration"],
];

/**
 * What of a project is by default neither part of the cache key of a training nor sent: one list for both, since a run
 * must find nothing that its key does not cover. `sync.include` sends any of it, and makes it part of the key.
 */
export const NOT_TRAINED: readonly string[] = PATTERNS.map(([pattern]) => pattern);

/** Files in which a project names its documents: a build fails where one that it names is absent. */
export const PACKAGING_FILES = ['pyproject.toml', 'setup.py', 'setup.cfg', 'MANIFEST.in'];

const matchers = PATTERNS.map(([pattern, why]) => ({ matches: picomatch(pattern, GLOB), why }));

const ANYWHERE = '**/';
/** What a pattern says of a name alone, for a quick answer: a name at any depth, or one in the root. */
const namesOf = (patterns: string[]) =>
  new RegExp(
    patterns.map((pattern) => `(?:${picomatch.makeRe(pattern, GLOB).source})`).join('|') || '(?!)',
    GLOB.flags,
  );
const anywhere = NOT_TRAINED.filter((pattern) => pattern.startsWith(ANYWHERE) && !pattern.slice(3).includes('/'));
const rest = NOT_TRAINED.filter((pattern) => !anywhere.includes(pattern));
const NAMES = namesOf(anywhere.map((pattern) => pattern.slice(ANYWHERE.length)));
const ROOT_NAMES = namesOf(rest.filter((pattern) => !pattern.includes('/')));
const DIRECTORIES = rest.flatMap((pattern) => (pattern.includes('/') ? `${picomatch.scan(pattern, GLOB).base}/` : []));

/** Why a path, relative to its project, is not trained with; null where it is. */
export function whyNotTrained(path: string): string | null {
  const slash = path.lastIndexOf('/');
  const mayMatch =
    NAMES.test(slash < 0 ? path : path.slice(slash + 1)) ||
    (slash < 0 ? ROOT_NAMES.test(path) : DIRECTORIES.some((directory) => path.startsWith(directory)));
  return mayMatch ? (matchers.find(({ matches }) => matches(path))?.why ?? null) : null;
}
