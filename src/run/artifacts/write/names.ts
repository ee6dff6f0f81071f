import type { FoldNames } from '../../../workspace/name-folding';

/** The directories that a path is in, the outermost first. */
export function parentsOf(path: string): string[] {
  const parts = path.split('/');
  return parts.slice(1).map((_, depth) => parts.slice(0, depth + 1).join('/'));
}

/** Paths that were added so far, of which no two may be one. */
export class Names {
  private readonly files = new Map<string, string>();
  private readonly directories = new Map<string, string>();

  constructor(private readonly fold: FoldNames) {}

  /** @returns the path that it would be one with, and null where it was added. */
  add(path: string): string | null {
    const key = this.fold(path);
    const twin = this.files.get(key) ?? this.directories.get(key);
    if (twin !== undefined) return twin;
    const parents = parentsOf(path);
    for (const parent of parents) {
      const other = this.directories.get(this.fold(parent)) ?? this.files.get(this.fold(parent));
      if (other !== undefined && (other !== parent || this.files.has(this.fold(parent)))) return other;
    }
    for (const parent of parents) this.directories.set(this.fold(parent), parent);
    this.files.set(key, path);
    return null;
  }
}
