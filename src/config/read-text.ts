import { readFileSync } from 'node:fs';

/** A text file without the byte order mark that it may begin with. */
export function readText(path: string): string {
  return readFileSync(path, 'utf8').replace(/^\ufeff/, '');
}
