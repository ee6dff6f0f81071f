import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { POINTER } from './pointer';

/** The file in an output directory that says what the last collection brought; only that is removed by the next one. */
export const COLLECTED = POINTER;

const schema = z.object({
  files: z.array(z.string()),
  artifacts: z.array(z.object({ path: z.string(), size: z.number(), sha256: z.string() })).default([]),
});

export interface CollectedFiles {
  /** Relative to the output directory. */
  paths: string[];
  /** The contents of those that are artifacts, by the same paths. */
  contents: Map<string, { size: number; sha256: string }>;
}

/** What the last collection brought into an output directory; nothing where no collection can be told. */
export function readCollected(output: string, outputDir: string): CollectedFiles {
  const none = { paths: [], contents: new Map() };
  try {
    const parsed = schema.safeParse(JSON.parse(readFileSync(join(output, COLLECTED), 'utf8')));
    if (!parsed.success) return none;
    const { files, artifacts } = parsed.data;
    const paths = files.filter((path) => path.split('/').every((part) => !['', '.', '..'].includes(part)));
    const brought = new Set(paths);
    const contents = artifacts
      .map(({ path, ...content }) => [path.slice(outputDir.length + 1), content] as const)
      .filter(([path]) => brought.has(path));
    return { paths, contents: new Map(contents) };
  } catch {
    return none;
  }
}
