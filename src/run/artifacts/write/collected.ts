import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { OUTPUT_DIRECTORY, POINTER } from '../../../config/settings/outputs';

/** The file that says what the last collection brought, project-relative. */
export const COLLECTED = `${OUTPUT_DIRECTORY}/${POINTER}`;

const contents = z.array(z.object({ path: z.string(), size: z.number(), sha256: z.string() })).default([]);

const schema = z.object({ files: z.array(z.string()), artifacts: contents, before: contents });

export type CollectedContent = z.infer<typeof contents>[number];

type Content = Omit<CollectedContent, 'path'>;

export interface CollectedFiles {
  /** Project-relative. */
  paths: string[];
  /**
   * The contents of those that are artifacts, by the same paths: after a collection that was killed, also those that it
   * was to replace.
   */
  contents: Map<string, Content[]>;
}

/** The files that the last collection brought into a project's directory; none where that can't be read. */
export function readCollected(root: string): CollectedFiles {
  const none = { paths: [], contents: new Map<string, Content[]>() };
  try {
    const parsed = schema.safeParse(JSON.parse(readFileSync(join(root, COLLECTED), 'utf8')));
    if (!parsed.success) return none;
    const { files, artifacts, before } = parsed.data;
    const paths = files.filter((path) => path.split('/').every((part) => !['', '.', '..'].includes(part)));
    const known = new Map<string, Content[]>(paths.map((path) => [path, []]));
    for (const { path, ...content } of [...artifacts, ...before]) known.get(path)?.push(content);
    return { paths, contents: known };
  } catch {
    return none;
  }
}
