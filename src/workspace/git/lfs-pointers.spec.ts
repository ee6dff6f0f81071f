import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Entry } from '../../snapshot/entry';
import { lfsPointers } from './lfs-pointers';

const pointer = (size: number) =>
  `version https://git-lfs.github.com/spec/v1\noid sha256:${'4d7a'.repeat(16)}\nsize ${size}\n`;

describe('pointers of Git LFS', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'nx-ec2-lfs-'));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const find = () =>
    lfsPointers(
      root,
      readdirSync(root).map((path): Entry => {
        const { size } = statSync(join(root, path));
        return { kind: 'file', path, executable: false, size, sha256: '0'.repeat(64) };
      }),
    );

  it('are found, whatever the size of the content and with extensions', () => {
    writeFileSync(join(root, 'a'), pointer(1));
    writeFileSync(join(root, 'b'), pointer(123_456_789_012));
    const extensions = Array.from({ length: 9 }, (_, at) => `ext-${at}-case sha256:${'4d7a'.repeat(16)}\n`).join('');
    writeFileSync(join(root, 'c'), pointer(1).replace('oid', `${extensions}oid`));
    expect(find()).toEqual(['a', 'b', 'c']);
  });

  it('are not other files that mention them', () => {
    writeFileSync(join(root, 'quoted'), `> ${pointer(1)}`);
    writeFileSync(join(root, 'long'), pointer(1) + ' '.repeat(1_000));
    writeFileSync(join(root, 'short'), pointer(1).slice(0, 60));
    writeFileSync(join(root, 'other'), pointer(1).replace('v1', 'v9'));
    writeFileSync(join(root, 'text'), 'x'.repeat(500));
    expect(find()).toEqual([]);
  });

  it('are not looked for through links, nor in something that replaced a file', () => {
    writeFileSync(join(root, 'a'), pointer(1));
    symlinkSync('a', join(root, 'link'));
    execFileSync('mkfifo', [join(root, 'pipe')]);
    const entries = ['a', 'gone', 'link', 'pipe'].map((path): Entry => ({
      kind: 'file',
      path,
      executable: false,
      size: 130,
      sha256: '0'.repeat(64),
    }));
    expect(lfsPointers(root, entries)).toEqual(['a']);
  });
});
