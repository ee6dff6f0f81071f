import { readFileSync } from 'node:fs';

/** A text file without the byte order mark that it may begin with. */
export function readText(path: string): string {
  return readFileSync(path, 'utf8').replace(/^\ufeff/, '');
}

/**
 * Reads a JSON file as Nx reads its own: with comments, trailing commas, and the byte order mark that some editors add.
 * @throws Error with line and column
 */
export function readJson(path: string): unknown {
  const text = readText(path);
  try {
    return JSON.parse(text);
  } catch {
    // Nx's own parser is loaded only for what is not plain JSON: it takes long to load.
    // eslint-disable-next-line @typescript-eslint/no-require-imports, @typescript-eslint/consistent-type-imports
    return (require('@nx/devkit') as typeof import('@nx/devkit')).parseJson(text);
  }
}
