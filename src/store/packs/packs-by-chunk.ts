import { ChunkMap } from '../../snapshot/chunk-list';
import type { PackName } from './index-format';

/** Which pack holds which chunk, in flat memory. */
export class PacksByChunk {
  private readonly numbers = new ChunkMap();
  private readonly packs: PackName[] = [];

  add(pack: PackName, chunks: Iterable<string>): void {
    const number = this.packs.push(pack) - 1;
    for (const chunk of chunks) this.numbers.set(chunk, number);
  }

  /** Adds what another one holds. */
  addAll(other: PacksByChunk): void {
    const first = this.packs.length;
    this.packs.push(...other.packs);
    for (const [chunk, number] of other.numbers) this.numbers.set(chunk, first + number);
  }

  get(chunk: string): PackName | undefined {
    const number = this.numbers.get(chunk);
    return number === undefined ? undefined : this.packs[number];
  }

  /** How many chunks. */
  get size(): number {
    return this.numbers.size;
  }

  names(): readonly PackName[] {
    return this.packs;
  }
}
