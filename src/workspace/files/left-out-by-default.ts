import { PACKAGING_FILES, whyNotTrained } from '../../config/targets/not-trained';
import { join } from 'node:path';
import { readFileSync } from 'node:fs';

/**
 * Why a file of a project is left out by default: it is a test, a notebook, or a document that no packaging file of the
 * project names.
 */
export function whyLeftOut(workspaceRoot: string, roots: string[]): (path: string) => string | null {
  const known = new Map<string, string | undefined>(roots.map((root) => [root, root]));
  const innermost = (directory: string): string | undefined => {
    if (known.has(directory)) return known.get(directory);
    const slash = directory.lastIndexOf('/');
    const root = directory === '.' ? undefined : innermost(slash < 0 ? '.' : directory.slice(0, slash));
    known.set(directory, root);
    return root;
  };
  const packaging = new Map<string, string>();
  const textOf = (root: string) => {
    const before = packaging.get(root);
    if (before !== undefined) return before;
    const text = PACKAGING_FILES.map((name) => readText(join(workspaceRoot, root, name))).join('\n');
    packaging.set(root, text);
    return text;
  };
  return (path) => {
    const slash = path.lastIndexOf('/');
    const root = innermost(slash < 0 ? '.' : path.slice(0, slash));
    if (root === undefined) return null;
    const own = root === '.' ? path : path.slice(root.length + 1);
    const why = whyNotTrained(own);
    if (why === null || (!own.includes('/') && textOf(root).includes(own))) return null;
    return `${why}: "sync.include" sends it`;
  };
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
