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

/** Why a path, relative to its project, is not trained with; null where it is. */
export function whyNotTrained(path: string): string | null {
  return matchers.find(({ matches }) => matches(path))?.why ?? null;
}
