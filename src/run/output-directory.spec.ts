import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Configuration } from '../config/configuration';
import { Reporter } from '../report/reporter';
import { checkOutputDirectory } from './output-directory';

describe('an output directory, before a training starts', () => {
  let root: string;
  let said: string[];
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'nx-ec2-output-'));
    mkdirSync(join(root, 'model'));
    said = [];
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  const check = (outputDir: string) => {
    const reporter = new Reporter();
    reporter.warn = (text) => void said.push(text);
    checkOutputDirectory(root, { projectRoot: 'model', train: { outputDir } } as Configuration, reporter);
  };

  it('may be absent, or hold nothing that git tracks', () => {
    check('out');
    execFileSync('git', ['-C', root, 'init', '-q']);
    mkdirSync(join(root, 'model/out'));
    for (const name of ['.gitkeep', 'model.bin']) writeFileSync(join(root, 'model/out', name), '');
    execFileSync('git', ['-C', root, 'add', 'model/out/.gitkeep']);
    check('out');
    expect(said).toEqual([]);
  });

  it('is refused where it is a link, is a file, or lies in one', () => {
    symlinkSync(root, join(root, 'model/link'));
    writeFileSync(join(root, 'model/file'), '');
    expect(() => check('link')).toThrow(/is a symbolic link/);
    expect(() => check('link/out')).toThrow(/is a symbolic link/);
    expect(() => check('file')).toThrow(/is not a directory/);
    expect(() => check('file/out')).toThrow(/is not a directory/);
  });

  it('is warned of where git tracks files in it, and refused where git fails', () => {
    execFileSync('git', ['-C', root, 'init', '-q']);
    mkdirSync(join(root, 'model/out/(a) [b]'), { recursive: true });
    writeFileSync(join(root, 'model/out/(a) [b]/metrics\u0007.json'), '');
    execFileSync('git', ['-C', root, 'add', '-f', '.']);
    check('out');
    check('out/(a) [b]');
    expect(said).toEqual([
      expect.stringMatching(
        /^git tracks 1 file in the output directory model\/out \(\(a\) \[b\]\/metrics[^\u0007]*\.json\)/,
      ),
      expect.stringMatching(/^git tracks 1 file in the output directory model\/out\/\(a\) \[b\] /),
    ]);
    writeFileSync(join(root, '.git/config'), 'broken [');
    expect(() => check('out')).toThrow(/git can't say which files/);
  });
});
