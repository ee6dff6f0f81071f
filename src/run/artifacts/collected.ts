import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { OUTPUT_DIRECTORY, POINTER } from '../../config/outputs';

/** The file that says what the last collection brought, project-relative. */
export const COLLECTED = `${OUTPUT_DIRECTORY}/${POINTER}`;

const schema = z.object({
  files: z.array(z.string()),
  artifacts: z.array(z.object({ path: z.string(), size: z.number(), sha256: z.string() })).default([]),
});

export interface CollectedFiles {
  /** Project-relative. */
  paths: string[];
  /** The contents of those that are artifacts, by the same paths. */
  contents: Map<string, { size: number; sha256: string }>;
}

/** The files that the last collection brought into a project's directory; none where that can't be read. */
export function readCollected(root: string): CollectedFiles {
  const none = { paths: [], contents: new Map() };
  try {
    const parsed = schema.safeParse(JSON.parse(readFileSync(join(root, COLLECTED), 'utf8')));
    if (!parsed.success) return none;
    const { files, artifacts } = parsed.data;
    const paths = files.filter((path) => path.split('/').every((part) => !['', '.', '..'].includes(part)));
    const brought = new Set(paths);
    const contents = artifacts
      .map(({ path, ...content }) => [path, content] as const)
      .filter(([path]) => brought.has(path));
    return { paths, contents: new Map(contents) };
  } catch {
    return none;
  }
}
