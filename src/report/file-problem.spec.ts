import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileProblem, onFile } from './file-problem';
import { Problem } from './problem';

const failure = (code: string, path?: string) =>
  Object.assign(new Error(`${code}: words of the system, write`), { code, syscall: 'write', errno: -1, path });

describe('a system call on a file that failed', () => {
  it.each([
    ['ENOSPC', 'DISK_FULL', 'The disk of /data/artifacts is full: /data/artifacts/m.bin could not be written.'],
    ['EDQUOT', 'DISK_FULL', 'The disk quota is used up: /data/artifacts/m.bin could not be written.'],
    ['EFBIG', 'FILE_ERROR', '/data/artifacts/m.bin would be larger'],
    ['EROFS', 'FILE_ERROR', "/data/artifacts/m.bin can't be written: its file system is read-only."],
    ['EIO', 'FILE_ERROR', 'The disk failed at /data/artifacts/m.bin'],
    ['EMFILE', 'FILE_ERROR', 'Too many files are open in this process: /data/artifacts/m.bin'],
    ['ENFILE', 'FILE_ERROR', 'Too many files are open in this machine: /data/artifacts/m.bin'],
    ['ENOENT', 'FILE_ERROR', '/data/artifacts/m.bin was moved or removed while it was in use'],
    ['ENOTDIR', 'FILE_ERROR', '/data/artifacts/m.bin was moved or removed while it was in use'],
    ['EACCES', 'FILE_ERROR', 'There is no permission to use /data/artifacts/m.bin.'],
  ])('is explained: %s', async (code, own, what) => {
    const path = '/data/artifacts/m.bin';
    const named = onFile(path, () => Promise.reject(failure(code, `${path}.nx-ec2-part`)));
    await expect(named).rejects.toMatchObject({ code: own, what: expect.stringContaining(what) });
    await expect(named).rejects.toHaveProperty('next');
    expect(fileProblem(failure(code, path))!.what).toContain(what);
    expect(fileProblem(failure(code))!.what).not.toMatch(/null|undefined/);
  });

  it('is explained as the system reports it', () => {
    // One of its own, of another realm than this test's.
    let own: unknown;
    try {
      mkdirSync(join(__filename, 'none'));
    } catch (thrown) {
      own = Object.assign(thrown as Error, { code: 'ENOSPC' });
    }
    expect(fileProblem(own)).toMatchObject({ code: 'DISK_FULL' });
    let error: unknown;
    try {
      readFileSync(__dirname);
    } catch (thrown) {
      error = thrown;
    }
    // A code that is not one of these stays what it is, and so do our own and other people's errors.
    for (const other of [
      error,
      new Problem('INTERNAL', 'x'),
      new Error('ENOSPC'),
      failure('ECONNRESET'),
      null,
      'ENOSPC',
    ])
      expect(fileProblem(other)).toBeUndefined();
  });
});
