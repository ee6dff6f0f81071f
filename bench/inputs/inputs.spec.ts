import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeInput, type InputName } from './inputs';

describe('the inputs', () => {
  let directory: string;
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'nx-ec2-inputs-'))));
  afterEach(() => rmSync(directory, { recursive: true }));

  const make = (name: InputName, at = directory, scale = 0.005) => makeInput(name, at, process.cwd(), scale);
  const fingerprint = (source: string) => {
    const hash = createHash('sha256');
    for (const name of readdirSync(source, { recursive: true, encoding: 'utf8' }).sort()) {
      const path = join(source, name);
      if (statSync(path).isFile()) hash.update(`${name}\0`).update(readFileSync(path));
    }
    return hash.digest('hex');
  };

  it.each(['few', 'source', 'many', 'upload', 'huge', 'repeats'] as const)(
    'are the same bytes each time they are made, also after the edit: %s',
    (name) => {
      const input = make(name);
      const before = fingerprint(input.source);
      input.edit();
      if (input.delta) expect(fingerprint(input.source)).not.toBe(before);
      input.restore();
      expect(fingerprint(input.source)).toBe(before);
      expect(fingerprint(make(name, join(directory, 'other')).source)).toBe(before);
    },
  );

  it('compress about as well as the files that they stand for', () => {
    const ratio = (name: InputName) => {
      const { bytes, packed } = make(name, directory, 0.02);
      return bytes / packed;
    };
    expect(ratio('source')).toBeGreaterThan(4);
    expect(ratio('source')).toBeLessThan(7);
    expect(ratio('many')).toBeGreaterThan(1.6);
    expect(ratio('many')).toBeLessThan(2.1);
  });

  it('have an edit that inserts in the middle of the large file', () => {
    const input = make('upload');
    const file = join(input.source, 'checkpoint.bin');
    const before = readFileSync(file);
    input.edit();
    const after = readFileSync(file);
    const half = input.bytes / 2;
    expect(after.length).toBe(before.length + input.delta);
    expect(after.subarray(0, half).equals(before.subarray(0, half))).toBe(true);
    expect(after.subarray(half + input.delta).equals(before.subarray(half))).toBe(true);
  });
});
