import { PACKAGING_FILES, whyNotTrained } from '../../config/targets/not-trained';
import { byDirectory } from '../../config/syntax/by-directory';
import { join } from 'node:path';
import { readFileSync } from 'node:fs';

/**
 * Why a file of a project is left out by default: it is a test, a notebook, or a document that no packaging file of the
 * project names.
 */
export function whyLeftOut(workspaceRoot: string, roots: string[]): (path: string) => string | null {
  const all = new Set(roots);
  const innermost = byDirectory((directory): string | undefined =>
    all.has(directory) ? directory : directory === '.' ? undefined : innermost(directory),
  );
  const packaging = new Map<string, string>();
  const textOf = (root: string) => {
    const before = packaging.get(root);
    if (before !== undefined) return before;
    const text = PACKAGING_FILES.map((name) => readText(join(workspaceRoot, root, name))).join('\n');
    packaging.set(root, text);
    return text;
  };
  return (path) => {
    const root = innermost(path);
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
