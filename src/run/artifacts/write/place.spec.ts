import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeDirectory, moveIntoPlace } from './place';

/** A directory of another file system than that of temporary files; null: this machine has none. */
const OTHER = ['/dev/shm', '/run'].find((each) => existsSync(each) && statSync(each).dev !== statSync(tmpdir()).dev);

describe('The place of a file that comes back', () => {
  let base: string;
  beforeEach(() => void (base = mkdtempSync(join(tmpdir(), 'nx-ec2-place-'))));
  afterEach(() => rmSync(base, { recursive: true, force: true }));

  (OTHER ? it : it.skip)('may be on another file system', () => {
    const other = mkdtempSync(join(OTHER!, 'nx-ec2-place-'));
    try {
      writeFileSync(join(base, 'new'), 'new', { mode: 0o755 });
      writeFileSync(join(other, 'place'), 'old');
      moveIntoPlace(join(base, 'new'), join(other, 'place'));
      expect(readFileSync(join(other, 'place'), 'utf8')).toBe('new');
      expect(lstatSync(join(other, 'place')).mode & 0o777).toBe(0o755);
      expect(readdirSync(other)).toEqual(['place']);
    } finally {
      rmSync(other, { recursive: true, force: true });
    }
  });

  it('gets the directories above it, whatever others exist', () => {
    makeDirectory(join(base, 'a/b/c'));
    symlinkSync('a', join(base, 'link'));
    makeDirectory(join(base, 'link/b/d'));
    makeDirectory(base);
    expect(readdirSync(join(base, 'a/b'))).toEqual(['c', 'd']);
  });

  it('is refused with its reason where something else is above it, or nothing can be created', () => {
    writeFileSync(join(base, 'file'), '');
    symlinkSync('nothing', join(base, 'dangling'));
    symlinkSync('loop', join(base, 'loop'));
    mkdirSync(join(base, 'a'));
    for (const [path, at, what] of [
      ['file', 'file', 'no directory'],
      ['file/a/b', 'file', 'no directory'],
      ['dangling', 'dangling', 'a link that leads to no directory'],
      ['loop/x', 'loop', 'a link that leads to no directory'],
    ])
      expect(() => makeDirectory(join(base, path))).toThrow(
        expect.objectContaining({
          code: 'ARTIFACT_BLOCKED',
          message: expect.stringContaining(`written to ${join(base, path)}: ${join(base, at)} is ${what}.`),
        }),
      );
    // Node's own recursive mkdir never returns here.
    if (existsSync('/proc/self'))
      expect(() => makeDirectory('/proc/self/a/b')).toThrow(expect.objectContaining({ code: 'FILE_ERROR' }));
  });
});
