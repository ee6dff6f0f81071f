import { spawnSync } from 'node:child_process';
import fs, { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { hasEnded, isScratch, makeScratch, processMark } from './scratch';

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

  describe('of a process of another machine or container', () => {
    const { pid: ended } = spawnSync('true');
    const inNamespace = <T>(name: string, work: () => T): T => {
      const link = jest.spyOn(fs, 'readlinkSync').mockReturnValue(name as never);
      try {
        return work();
      } finally {
        link.mockRestore();
      }
    };
    const HOURS = 3600_000;
    const age = (path: string, hours: number) => {
      const time = new Date(Date.now() - hours * HOURS);
      utimesSync(path, time, time);
    };

    it('are not taken for those of an ended process of this one', () => {
      const own = inNamespace('pid:[1]', processMark).replace(`-${process.pid}-`, `-${ended}-`);
      const path = join(directory, 'file');
      writeFileSync(path, '');
      expect(inNamespace('pid:[1]', () => hasEnded(own, path))).toBe('surely');
      expect(inNamespace('pid:[2]', () => hasEnded(own, path))).toBeUndefined();
      age(path, 2);
      expect(inNamespace('pid:[2]', () => hasEnded(own, path))).toBe('likely');
    });

    it('are removed when nothing has been written to them for an hour', () => {
      const [old, deep, young] = ['0', '1', '2'].map((digit) => {
        const path = join(directory, `artifacts.nx-ec2-ffffffff-${ended}-0000000${digit}`);
        mkdirSync(join(path, 'files'), { recursive: true });
        writeFileSync(join(path, 'files/m'), '');
        return path;
      });
      for (const path of [old, deep]) for (const each of ['files', '.']) age(join(path, each), 2);
      age(join(old, 'files/m'), 2);
      const own = makeScratch(directory, 'artifacts');
      expect(readdirSync(directory).sort()).toEqual([deep, young, own].map((path) => basename(path)).sort());
    });
  });

  it('are recognized by their names, at any depth', () => {
    const scratch = makeScratch(directory);
    expect(isScratch(`a/${basename(scratch)}/files/b`)).toBe(true);
    for (const path of ['a/artifacts', 'a.nx-ec2-part', 'a.nx-ec2.json', 'x.nx-ec2-00000000-1-0000000'])
      expect(isScratch(path)).toBe(false);
  });
});
