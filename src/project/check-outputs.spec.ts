import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { allOutputs } from '../config/settings/outputs';
import { checkOutputs } from './check-outputs';
import type { Configuration } from '../config/settings/types';

describe('outputs, before a training starts', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'nx-ec2-output-'));
    mkdirSync(join(root, 'model'));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  const check = (...outputs: string[]) =>
    checkOutputs(root, { projectRoot: 'model', train: { outputs: allOutputs(outputs) } } as unknown as Configuration);

  it('may be absent, a directory or a file', () => {
    check('out/', 'deep/er/model.pt', '**/*.ckpt');
    mkdirSync(join(root, 'model/out'));
    writeFileSync(join(root, 'model/snapshot.pt'), '');
    check('out/', 'snapshot.pt');
  });

  it('are refused where one is a link or lies in one, or lies in a file', () => {
    symlinkSync(root, join(root, 'model/link'));
    writeFileSync(join(root, 'model/file'), '');
    expect(() => check('link')).toThrow(/is a symbolic link/);
    expect(() => check('link/out')).toThrow(/is a symbolic link/);
    expect(() => check('file/out')).toThrow(/is not a directory/);
    writeFileSync(join(root, 'model/artifacts'), '');
    expect(() => check()).toThrow(/artifacts is not a directory/);
  });

  it('are refused where git fails', () => {
    execFileSync('git', ['-C', root, 'init', '-q']);
    check('out');
    writeFileSync(join(root, '.git/config'), 'broken [');
    expect(() => check('out')).toThrow(/git can't say which files/);
  });
});
