import type { Chunk } from '../../snapshot/chunk';
import { ChunkListWriter } from '../../snapshot/chunk-list';

/** A chunk and where it is: a file of the workspace. */
export interface Piece {
  path: string;
  offset: number;
  chunk: Chunk;
}

/** Pieces in flat memory: a file of 10 GB has 125,000. */
export class PieceList implements Iterable<Piece> {
  /** Bytes of all. */
  total = 0;
  private readonly chunks = new ChunkListWriter();
  private readonly offsets: number[] = [];
  private readonly files: number[] = [];
  private readonly paths: string[] = [];

  get length(): number {
    return this.offsets.length;
  }

  push({ path, offset, chunk }: Piece): void {
    if (this.paths.at(-1) !== path) this.paths.push(path);
    this.files.push(this.paths.length - 1);
    this.offsets.push(offset);
    this.chunks.push(...chunk);
    this.total += chunk[1];
  }

  /** Itself, if all are wanted. */
  filter(isWanted: (chunk: string) => boolean): PieceList {
    let some: PieceList | undefined;
    let index = 0;
    for (const piece of this) {
      if (isWanted(piece.chunk[0])) some?.push(piece);
      else some ??= this.first(index);
      index++;
    }
    return some ?? this;
  }

  private first(count: number): PieceList {
    const some = new PieceList();
    for (const piece of this) {
      if (some.length === count) break;
      some.push(piece);
    }
    return some;
  }

  *[Symbol.iterator](): Generator<Piece> {
    for (let index = 0; index < this.length; index++)
      yield { path: this.paths[this.files[index]], offset: this.offsets[index], chunk: this.chunks.at(index) };
  }
}
