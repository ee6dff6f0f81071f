import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readRegularFile } from './read-regular-file';

describe('a file of the workspace', () => {
  const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-regular-'));
  const file = join(directory, 'file');
  afterEach(() => rmSync(file, { force: true }));
  afterAll(() => rmSync(directory, { recursive: true }));

  it('is read', () => {
    writeFileSync(file, 'ä');
    expect(readRegularFile(file)).toBe('ä');
  });

  (process.platform === 'win32' ? it.skip : it)('is not waited for if it is a named pipe', () => {
    execFileSync('mkfifo', [file]);
    expect(() => readRegularFile(file)).toThrow('is not a regular file');
  });

  it('is not what a link leads to, nor a directory', () => {
    symlinkSync(__filename, file);
    expect(() => readRegularFile(file)).toThrow();
    expect(() => readRegularFile(directory)).toThrow('is not a regular file');
  });
});
