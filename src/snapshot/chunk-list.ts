const HASH_BYTES = 32;
const CHUNK_BYTES = HASH_BYTES + 4;
const MIN_CAPACITY = 64;

/** A piece of a content: its SHA-256 and its size, bytes. Format: docs/reference/formats.md, "Contents, chunks, recipes". */
export type Chunk = readonly [sha256: string, size: number];

/** The chunks of a content in order, as the bytes of its recipe: objects would take six times the memory. */
export class ChunkList implements Iterable<Chunk> {
  /** @throws Error where the bytes are not whole chunks. */
  constructor(readonly bytes: Buffer) {
    if (bytes.length % CHUNK_BYTES) throw new Error('a recipe is cut off');
  }

  static of(chunks: Iterable<Chunk>): ChunkList {
    const writer = new ChunkListWriter();
    for (const [sha256, size] of chunks) writer.push(sha256, size);
    return writer.list();
  }

  static bytesOf(count: number): number {
    return count * CHUNK_BYTES;
  }

  /** Reads what `encode` wrote. */
  static decode(text: string): ChunkList {
    return new ChunkList(Buffer.from(text, 'base64'));
  }

  encode(): string {
    return this.bytes.toString('base64');
  }

  get length(): number {
    return this.bytes.length / CHUNK_BYTES;
  }

  /** Bytes of the content. */
  get total(): number {
    let sum = 0;
    for (let index = 0; index < this.length; index++) sum += this.size(index);
    return sum;
  }

  sha256(index: number): string {
    return this.bytes.toString('hex', index * CHUNK_BYTES, index * CHUNK_BYTES + HASH_BYTES);
  }

  size(index: number): number {
    return this.bytes.readUInt32BE(index * CHUNK_BYTES + HASH_BYTES);
  }

  *[Symbol.iterator](): Generator<Chunk> {
    for (let index = 0; index < this.length; index++) yield readChunk(this.bytes, index);
  }
}

function readChunk(bytes: Buffer, index: number): Chunk {
  const at = index * CHUNK_BYTES;
  return [bytes.toString('hex', at, at + HASH_BYTES), bytes.readUInt32BE(at + HASH_BYTES)];
}

export class ChunkListWriter {
  private bytes = Buffer.alloc(MIN_CAPACITY * CHUNK_BYTES);
  private used = 0;

  get length(): number {
    return this.used / CHUNK_BYTES;
  }

  push(sha256: string, size: number): void {
    if (this.used === this.bytes.length) this.bytes = Buffer.concat([this.bytes], this.used * 2);
    this.bytes.write(sha256, this.used, HASH_BYTES, 'hex');
    this.bytes.writeUInt32BE(size, this.used + HASH_BYTES);
    this.used += CHUNK_BYTES;
  }

  at(index: number): Chunk {
    return readChunk(this.bytes, index);
  }

  /** What was pushed so far. */
  list(): ChunkList {
    return new ChunkList(Buffer.from(this.bytes.subarray(0, this.used)));
  }
}

/** Numbers by the names of chunks, in flat memory: a Map of texts takes three times as much. */
export class ChunkMap {
  private names = Buffer.alloc(MIN_CAPACITY * HASH_BYTES);
  private values = new Float64Array(MIN_CAPACITY);
  /** One more than the number of an entry; 0: free. A name is at the place that its first bytes say, or after it. */
  private slots = new Int32Array(MIN_CAPACITY * 2);
  private count = 0;
  private readonly wanted = Buffer.alloc(HASH_BYTES);

  get size(): number {
    return this.count;
  }

  get(sha256: string): number | undefined {
    const entry = this.slots[this.slot(sha256)] - 1;
    return entry < 0 ? undefined : this.values[entry];
  }

  has(sha256: string): boolean {
    return this.slots[this.slot(sha256)] > 0;
  }

  set(sha256: string, value: number): void {
    let slot = this.slot(sha256);
    if (this.slots[slot] === 0) {
      if (this.count === this.values.length) {
        this.grow();
        slot = this.slot(sha256);
      }
      this.wanted.copy(this.names, this.count * HASH_BYTES);
      this.slots[slot] = ++this.count;
    }
    this.values[this.slots[slot] - 1] = value;
  }

  /** Names and numbers, in the order in which the names were set first. */
  *[Symbol.iterator](): Generator<[sha256: string, value: number]> {
    for (let entry = 0; entry < this.count; entry++)
      yield [this.names.toString('hex', entry * HASH_BYTES, (entry + 1) * HASH_BYTES), this.values[entry]];
  }

  /** Where a name is, or would be. */
  private slot(sha256: string): number {
    this.wanted.write(sha256, 'hex');
    const mask = this.slots.length - 1;
    let slot = this.wanted.readUInt32LE(0) & mask;
    for (; this.slots[slot] !== 0; slot = (slot + 1) & mask) {
      const at = (this.slots[slot] - 1) * HASH_BYTES;
      if (this.names.compare(this.wanted, 0, HASH_BYTES, at, at + HASH_BYTES) === 0) break;
    }
    return slot;
  }

  private grow(): void {
    this.names = Buffer.concat([this.names], this.names.length * 2);
    const values = new Float64Array(this.values.length * 2);
    values.set(this.values);
    this.values = values;
    this.slots = new Int32Array(this.slots.length * 2);
    const mask = this.slots.length - 1;
    for (let entry = 0; entry < this.count; entry++) {
      let slot = this.names.readUInt32LE(entry * HASH_BYTES) & mask;
      while (this.slots[slot] !== 0) slot = (slot + 1) & mask;
      this.slots[slot] = entry + 1;
    }
  }
}
