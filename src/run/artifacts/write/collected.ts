import { join } from 'node:path';
import { z } from 'zod';
import { OUTPUT_DIRECTORY, POINTER } from '../../../config/settings/outputs';
import { readRegularFile } from '../../../workspace/read-regular-file';

/** The file that says what the last collection brought, project-relative. */
export const COLLECTED = `${OUTPUT_DIRECTORY}/${POINTER}`;

const contents = z.array(z.object({ path: z.string(), size: z.number(), sha256: z.string() })).default([]);

const schema = z.object({ files: z.array(z.string()), artifacts: contents, before: contents });

export type CollectedContent = z.infer<typeof contents>[number];

type Content = Omit<CollectedContent, 'path'>;

export interface CollectedFiles {
  /** Whether git tracks the file that says it: it is not read, and not written. */
  isTracked: boolean;
  /**
   * The contents of those that are artifacts, by the same paths: after a collection that was killed, also those that it
   * was to replace.
   */
  contents: Map<string, Content[]>;
}

/**
 * The files that the last collection brought into a project's directory; none where that can't be read.
 * @param isTracked git tracks the file that says it: it came with the repository, and says what its author wanted.
 */
export function readCollected(root: string, isTracked: boolean): CollectedFiles {
  const none = { isTracked, contents: new Map<string, Content[]>() };
  if (isTracked) return none;
  try {
    const parsed = schema.safeParse(JSON.parse(readRegularFile(join(root, COLLECTED))));
    if (!parsed.success) return none;
    const { files, artifacts, before } = parsed.data;
    const paths = files.filter((path) => path.split('/').every((part) => !['', '.', '..'].includes(part)));
    const known = new Map<string, Content[]>(paths.map((path) => [path, []]));
    for (const { path, ...content } of [...artifacts, ...before]) known.get(path)?.push(content);
    return { isTracked, contents: known };
  } catch {
    return none;
  }
}
