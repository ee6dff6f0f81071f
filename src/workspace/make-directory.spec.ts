import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeDirectory } from './make-directory';

describe('A directory that is to be made', () => {
  let base: string;
  beforeEach(() => void (base = mkdtempSync(join(tmpdir(), 'nx-ec2-directory-'))));
  afterEach(() => rmSync(base, { recursive: true, force: true }));

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
