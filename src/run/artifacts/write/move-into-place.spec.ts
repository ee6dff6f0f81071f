import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { moveIntoPlace } from './move-into-place';

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
});
