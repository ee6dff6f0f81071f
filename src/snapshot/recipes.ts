import { readCache, writeCache } from '../system/cache-file';
import { ChunkList } from './chunk-list';

interface Known {
  sha256: string;
  chunks: ChunkList;
}

/** So many states of a file are remembered: what an instance holds may be older than the last scan. */
const MAX_STATES = 3;
const VERSION = 2;

/** The first line of the file: of each path its states, the latest first, with their numbers of chunks. The lists follow. */
interface Header {
  v: number;
  recipes: [path: string, states: [sha256: string, chunks: number][]][];
}

/** The recipes of large files, by path, the latest state first. */
export class Recipes {
  private known?: Map<string, Known[]>;
  private contents?: Map<string, ChunkList>;
  private changed = false;

  constructor(private readonly file: string | undefined) {}

  /** The chunks of a content; undefined where it was not cut or is forgotten. */
  get(sha256: string): ChunkList | undefined {
    this.contents ??= new Map(
      [...this.load().values()].flatMap((states) => states.map((each) => [each.sha256, each.chunks])),
    );
    return this.contents.get(sha256);
  }

  /** What the file of this path was made of when it was cut last. */
  last(path: string): ChunkList | undefined {
    return this.load().get(path)?.[0].chunks;
  }

  set(path: string, sha256: string, chunks: ChunkList): void {
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
    const header: Header = {
      v: VERSION,
      recipes: kept.map(([path, states]) => [path, states.map(({ sha256, chunks }) => [sha256, chunks.length])]),
    };
    const lists = kept.flatMap(([, states]) => states.map(({ chunks }) => chunks.bytes));
    writeCache(this.file, Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), ...lists]));
    this.changed = false;
  }

  private load(): Map<string, Known[]> {
    // Only a cache: without it, a large file is cut again.
    this.known ??= readCache(this.file, parse) ?? new Map<string, Known[]>();
    return this.known;
  }
}

/** Throws, or returns null, for what `save` has not written. */
function parse(data: Buffer): Map<string, Known[]> | null {
  let at = data.indexOf('\n') + 1;
  const { v, recipes } = JSON.parse(data.toString('utf8', 0, at)) as Header;
  if (v !== VERSION) return null;
  const take = ([sha256, count]: [string, number]): Known => {
    if (!/^[0-9a-f]{64}$/.test(sha256) || !(count > 0)) throw new Error('no recipe');
    const from = at;
    return { sha256, chunks: new ChunkList(data.subarray(from, (at += ChunkList.bytesOf(count)))) };
  };
  const known = new Map(recipes.map(([path, states]) => [path, states.map(take)]));
  return at === data.length && [...known.values()].every(({ length }) => length > 0) ? known : null;
}
