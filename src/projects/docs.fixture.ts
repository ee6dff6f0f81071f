import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The repository. */
export const ROOT = join(__dirname, '../..');

/** A fenced block of a page. */
export interface Block {
  /** Path of the page, relative to the repository. */
  page: string;
  line: number;
  language: string;
  text: string;
  /** The comment that stands directly before the block: why it is not run, or what it is. */
  mark: string | null;
}

/** The comments before a block of commands that is not run, e.g. `<!-- needs an account -->`. */
const NOT_RUN = /^(needs an account|not run: .+)/;

/** Every page: those of docs/, and those at the root of the repository. */
export function pages(): string[] {
  const inDocs = readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' });
  const paths = [...readdirSync(ROOT), ...inDocs.map((path) => `docs/${path.replaceAll('\\', '/')}`)];
  return paths.filter((path) => path.endsWith('.md')).sort();
}

/** The fenced blocks of a page, in order. */
export function blocksOf(page: string): Block[] {
  const text = readFileSync(join(ROOT, page), 'utf8');
  return [...text.matchAll(/(?:^<!-- (.+?) -->\n\n)?^```(\w*)\n([^]*?)^```$/gm)].map((match) => ({
    page,
    line: text.slice(0, match.index).split('\n').length,
    language: match[2],
    text: match[3],
    mark: match[1] ?? null,
  }));
}

/** The pages that teach: their commands work as they stand. */
export function teachingPages(): string[] {
  return pages().filter((page) => /^docs\/(tutorial|how-to)\//.test(page));
}

/** Whether a block of commands says that a test can't run it. */
export function isMarkedNotRun({ mark }: Block): boolean {
  return mark !== null && NOT_RUN.test(mark);
}
