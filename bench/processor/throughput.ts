import { hash, randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { root } from '../programs';
import { sourceText } from '../inputs/source-text';

interface Chunker {
  write(data: Buffer): void;
  end(): [string, number][];
}

const SIZE = 64 * 1024 * 1024;
const PIECE = 4 * 1024 * 1024;
const ROUNDS = 3;

/** What the client does to bytes, apart from any network: MB/s of input on one core, the best of some rounds. */
export function measureProcessor(): string[] {
  const { Chunker } = createRequire(__filename)(join(root, 'build/snapshot/chunk.js')) as {
    Chunker: new (old?: [string, number][]) => Chunker;
  };
  const noise = randomBytes(SIZE);
  const source = Buffer.from(sourceText(randomBytes)(SIZE / 8));
  const cut = (old?: [string, number][]) => {
    const chunker = new Chunker(old);
    for (let at = 0; at < SIZE; at += PIECE) chunker.write(noise.subarray(at, at + PIECE));
    return chunker.end();
  };
  const known = cut();
  const rows: [string, number, () => unknown][] = [
    ['SHA-256', SIZE, () => hash('sha256', noise)],
    ['cutting a content anew, each chunk hashed', SIZE, () => cut()],
    ['looking for the chunks that are known', SIZE, () => cut(known)],
    ['deflate, level 6, source', source.length, () => deflateSync(source, { level: 6 })],
    ['deflate, level 1, source', source.length, () => deflateSync(source, { level: 1 })],
  ];
  return [
    '| work on one core | MB/s |',
    '| --- | --: |',
    ...rows.map(([what, size, work]) => `| ${what} | ${Math.round(size / 1e6 / fastest(work))} |`),
  ];
}

/** Seconds. */
function fastest(work: () => unknown): number {
  let best = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    const begun = performance.now();
    work();
    best = Math.min(best, performance.now() - begun);
  }
  return best / 1000;
}
