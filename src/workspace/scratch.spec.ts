import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { isScratch, makeScratch } from './scratch';

describe('scratch directories', () => {
  let directory: string;
  beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), 'nx-ec2-scratch-'))));
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('removes those of killed processes of this machine and of the same name, and no others', () => {
    const { pid: ended } = spawnSync('true');
    const own = makeScratch(directory, 'artifacts');
    const of = (host: string, pid: number, name = 'artifacts') =>
      `${name}.nx-ec2-${host}-${pid}-00000000`.replace('HERE', basename(own).split('-')[2]);
    const left = of('HERE', ended);
    const kept = [
      of('HERE', process.pid),
      of('ffffffff', ended),
      of('HERE', ended, 'other'),
      `x${left}`,
      `${left}.bak`,
    ];
    for (const name of [left, ...kept]) mkdirSync(join(directory, name, 'files'), { recursive: true });
    const next = makeScratch(directory, 'artifacts');
    expect(readdirSync(directory).sort()).toEqual([...kept, basename(own), basename(next)].sort());
    expect(readdirSync(next).sort()).toEqual(['.gitignore', '.nxignore']);
  });

  it('are recognized by their names, at any depth', () => {
    const scratch = makeScratch(directory);
    expect(isScratch(`a/${basename(scratch)}/files/b`)).toBe(true);
    for (const path of ['a/artifacts', 'a.nx-ec2-part', 'a.nx-ec2.json', 'x.nx-ec2-00000000-1-0000000'])
      expect(isScratch(path)).toBe(false);
  });
});
