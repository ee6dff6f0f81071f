import { spawnSync } from 'node:child_process';
import { createCipheriv, type Cipher } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { formatBytes } from '../report/format';
import { sourceText } from './source-text';
import { commitAll, installPlugin, makeWorkspace, WRITTEN } from './workspace';

/** What is synced: a project `model` in an Nx workspace. The same bytes on every machine. */
export interface Input {
  name: InputName;
  workspace: string;
  /** The project's directory in it. */
  source: string;
  title: string;
  files: number;
  /** Bytes as they are, and as `tar | gzip -6` makes them: what must travel the first time. */
  bytes: number;
  packed: number;
  /**
   * The edit that its scenarios make, the bytes that it brings, and its undoing. Of sources, each more time brings as
   * many.
   * @returns the file that it changed.
   */
  edit(time?: number): string;
  delta: number;
  restore(): void;
}

export type InputName = 'few' | 'source' | 'many' | 'big' | 'upload' | 'huge' | 'repeats';

const MB = 1_000_000;
const BLOCK = 1 << 20;
/** Of a content that repeats itself: no multiple of a block. */
const REPEATED_BYTES = 50 * MB + 1;

/**
 * @param scale 1: as the goals are meant; less: a quick look.
 * @param plugin the tarball of the package that is installed; absent: none.
 */
export function makeInput(name: InputName, directory: string, root: string, scale: number, plugin?: string): Input {
  const workspace = join(directory, name);
  const source = join(workspace, 'model');
  makeWorkspace(workspace, root);
  if (plugin) installPlugin(workspace, plugin);
  const count = (full: number) => Math.max(2, Math.round(full * scale));
  switch (name) {
    case 'few':
    case 'source': {
      const [files, bytes] = name === 'few' ? [20, MB / 5] : [count(2_000), count(20 * MB)];
      const names = writeSources(source, files, bytes);
      const edited = names[names.length >> 1];
      const before = readFileSync(edited, 'utf8');
      commitAll(workspace);
      return {
        ...described(`${files.toLocaleString('en')} source files, ${formatBytes(bytes)}`, files, bytes),
        ...editing(
          edited,
          before,
          (time) => before.replace(/\n {4}(.*)\n/, `\n    $1${'  # as agreed'.repeat(time)}\n`),
          13,
        ),
      };
    }
    case 'many': {
      const files = count(50_000);
      const random = randomBytes('many');
      // Hexadecimal digits: four bits of news in each byte.
      const names = write(source, files, () => random(2_048).toString('hex'));
      const before = readFileSync(names[1], 'utf8');
      return {
        ...described(`${files.toLocaleString('en')} files of 4 KB`, files, files * 4_096),
        ...editing(names[1], before, () => `edited${before.slice(6)}`, 6),
      };
    }
    case 'big':
    case 'upload': {
      const bytes = count(name === 'big' ? 1_000 * MB : 200 * MB);
      const file = join(source, 'checkpoint.bin');
      writeRandom(file, bytes);
      const inserted = Math.min(MB, bytes >> 2);
      return {
        ...described(`one file of ${formatBytes(bytes)}`, 1, bytes, bytes),
        edit: () => {
          insert(file, bytes >> 1, randomBytes('inserted')(inserted));
          return file;
        },
        delta: inserted,
        restore: () => writeRandom(file, bytes),
      };
    }
    case 'huge':
    case 'repeats': {
      const bytes = count(10_000 * MB);
      const period = name === 'repeats' ? REPEATED_BYTES : undefined;
      writeRandom(join(source, 'checkpoint.bin'), bytes, period);
      return {
        ...described(
          `one file of ${formatBytes(bytes)}${period ? `, ${formatBytes(period)} again and again` : ''}`,
          1,
          bytes,
          Math.min(bytes, period ?? bytes),
        ),
        edit: () => source,
        delta: 0,
        restore: () => undefined,
      };
    }
  }

  function described(title: string, files: number, bytes: number, packed = packedSize(source)) {
    return { name, workspace, source, title, files, bytes, packed };
  }
}

function editing(file: string, before: string, after: (time: number) => string, delta: number) {
  const edit = (time = 1) => {
    writeFileSync(file, after(time));
    return file;
  };
  return { edit, delta, restore: () => put(file, before) };
}

/** Sizes as they are in a repository: many small ones, a few large. */
function writeSources(source: string, files: number, bytes: number): string[] {
  const random = randomBytes('source');
  const text = sourceText(random);
  return write(source, files, (index) => {
    const spread = 0.35 + 1.5 * (random(1)[0] / 255) ** 2 * (index % 10 === 0 ? 3 : 0.8);
    return text((bytes / files) * spread);
  });
}

/** Files by number, forty to a directory. @returns their paths. */
function write(source: string, files: number, content: (index: number) => string): string[] {
  return Array.from({ length: files }, (_, index) => {
    const file = join(source, `part${Math.floor(index / 40)}`, `file${index}.py`);
    if (index % 40 === 0) mkdirSync(dirname(file), { recursive: true });
    put(file, content(index));
    return file;
  });
}

function put(file: string, text: string): void {
  writeFileSync(file, text);
  utimesSync(file, WRITTEN, WRITTEN);
}

/** @param period after so many bytes they come again. */
function writeRandom(file: string, bytes: number, period = bytes): void {
  let random = randomBytes(file.slice(-8));
  const to = openSync(file, 'w');
  for (let left = bytes, fresh = period; left > 0;) {
    const size = Math.min(left, fresh, BLOCK);
    writeSync(to, random(size));
    left -= size;
    fresh -= size;
    if (fresh === 0) [random, fresh] = [randomBytes(file.slice(-8)), period];
  }
  closeSync(to);
  utimesSync(file, WRITTEN, WRITTEN);
}

function insert(file: string, at: number, what: Buffer): void {
  const from = openSync(file, 'r');
  const to = openSync(`${file}.new`, 'w');
  const block = Buffer.alloc(BLOCK);
  const copy = (end: number, position: number) => {
    for (let got = 1; got > 0 && position < end; position += got) {
      got = readSync(from, block, 0, Math.min(BLOCK, end - position), position);
      writeSync(to, block, 0, got);
    }
  };
  copy(at, 0);
  writeSync(to, what);
  copy(Infinity, at);
  closeSync(from);
  closeSync(to);
  renameSync(`${file}.new`, file);
}

/** Bytes that nothing compresses, the same for the same seed. */
function randomBytes(seed: string): (size: number) => Buffer {
  const cipher: Cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, seed), Buffer.alloc(16));
  return (size) => cipher.update(Buffer.alloc(size));
}

function packedSize(directory: string): number {
  const script = 'tar c . | gzip -6 | wc -c';
  return Number(spawnSync('sh', ['-c', script], { cwd: directory, encoding: 'utf8' }).stdout);
}
