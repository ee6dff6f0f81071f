import { deflateSync } from 'node:zlib';
import { z } from 'zod';
import { inflate, parseJson } from '../system/bounded';
import { readCache, writeCache } from '../system/cache-file';
import type { Chunk } from './chunk';

interface Known {
  sha256: string;
  chunks: Chunk[];
}

/** So many states of a file are remembered: what an instance holds may be older than the last scan. */
const MAX_STATES = 3;
/** The file of recipes, inflated, bytes. */
const MAX_REMEMBERED_BYTES = 256 * 1024 * 1024;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const known = z.object({ sha256, chunks: z.array(z.tuple([sha256, z.number().int().nonnegative()])) });
const schema = z.object({
  v: z.literal(1),
  recipes: z.array(z.tuple([z.string(), z.array(known).min(1).max(MAX_STATES)])),
});

/** The recipes of large files, by path, the latest state first. */
export class Recipes {
  private known?: Map<string, Known[]>;
  private contents?: Map<string, Chunk[]>;
  private changed = false;

  constructor(private readonly file: string | undefined) {}

  /** The chunks of a content; undefined where it was not cut or is forgotten. */
  get(sha256: string): Chunk[] | undefined {
    this.contents ??= new Map(
      [...this.load().values()].flatMap((states) => states.map((each) => [each.sha256, each.chunks])),
    );
    return this.contents.get(sha256);
  }

  /** What the file of this path was made of when it was cut last. */
  last(path: string): Chunk[] | undefined {
    return this.load().get(path)?.[0].chunks;
  }

  set(path: string, sha256: string, chunks: Chunk[]): void {
    this.get(sha256);
    this.contents!.set(sha256, chunks);
    const before = (this.load().get(path) ?? []).filter((each) => each.sha256 !== sha256);
    this.load().set(path, [{ sha256, chunks }, ...before].slice(0, MAX_STATES));
    this.changed = true;
  }

  /** Keeps those of paths that are there. */
  save(paths: { has(path: string): boolean }): void {
    if (!this.changed || !this.file) return;
    const kept = [...this.load()].filter(([path]) => paths.has(path));
    writeCache(this.file, deflateSync(JSON.stringify({ v: 1, recipes: kept }), { level: 1 }));
    this.changed = false;
  }

  private load(): Map<string, Known[]> {
    // Only a cache: without it, a large file is cut again.
    this.known ??= new Map(
      readCache(this.file, (bytes) => schema.parse(parseJson(inflate(bytes, MAX_REMEMBERED_BYTES))).recipes) ?? [],
    );
    return this.known;
  }
}
