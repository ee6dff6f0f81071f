import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import fc from 'fast-check';
import { allOutputs } from '../../config/settings/outputs';
import { makeScratch } from '../scratch';
import { findIncluded } from './included';

describe('the files that sync.include names', () => {
  let workspaceRoot: string;
  beforeEach(() => {
    workspaceRoot = mkdtempSync(join(tmpdir(), 'nx-ec2-files-'));
  });
  afterEach(() => rmSync(workspaceRoot, { recursive: true }));

  const write = (...paths: string[]) => {
    for (const path of paths) {
      mkdirSync(dirname(join(workspaceRoot, path)), { recursive: true });
      writeFileSync(join(workspaceRoot, path), '');
    }
  };
  const find = (include: string[], exclude: string[] = []) => {
    const found = findIncluded({ workspaceRoot, projectRoot: 'model', include, exclude, outputs: allOutputs() });
    return {
      paths: [...found.paths].sort(),
      empty: [...found.emptyDirectories],
      left: Object.fromEntries(found.leftOut.map(({ path, why }) => [path, why])),
      warnings: found.warnings,
    };
  };

  it('are relative to the project, or to the workspace if the pattern says so', () => {
    write('model/data/a/b.csv', 'model/data/c.txt', 'shared/d.csv');
    expect(find(['data/**/*.csv', '{workspaceRoot}/shared']).paths).toEqual(['model/data/a/b.csv', 'shared/d.csv']);
  });

  it('leave out what nx-ec2 keeps for itself, and say so where a pattern names it', () => {
    write('.nx-ec2/local-aws/key', 'model/.nx-ec2/x', 'model/w.pt.nx-ec2-part', 'model/.nx-ec2.txt');
    for (const written of ['{workspaceRoot}/.nx-ec2/**', '{workspaceRoot}/.nx-ec2', 'w.pt.nx-ec2-part']) {
      const { paths, warnings } = find([written]);
      expect(paths).toEqual([]);
      expect(warnings).toEqual([`"sync.include" names ${written}, which is not sent: nx-ec2 uses it.`]);
    }
    const { paths, left, warnings } = find(['{workspaceRoot}/**']);
    expect(paths).toEqual(['model/.nx-ec2.txt']);
    expect(left).toEqual({
      '.nx-ec2/local-aws/key': 'nx-ec2 uses it',
      'model/.nx-ec2/x': 'nx-ec2 uses it',
      'model/w.pt.nx-ec2-part': 'nx-ec2 uses it',
    });
    expect(warnings).toEqual([]);
  });

  it('leave out those that exclude names, and a pattern that matches nothing is reported', () => {
    write('model/data/a.csv', 'model/data/raw/b.csv');
    const { paths, left, warnings } = find(['data', 'dta/**'], ['data/raw/**']);
    expect(paths).toEqual(['model/data/a.csv']);
    expect(left).toEqual({ 'model/data/raw/b.csv': 'sync.exclude' });
    expect(warnings).toEqual(['"sync.include" matches nothing: dta/**']);
  });

  it('are those of an existing path, even if that contains characters of a pattern', () => {
    write('model/data (1)/a.csv', 'model/data [x]/.env', 'model/data x/b.csv');
    expect(find(['data (1)', 'data [x]']).paths).toEqual(['model/data (1)/a.csv']);
    expect(find(['data \\(1\\)/*.csv']).paths).toEqual(['model/data (1)/a.csv']);
  });

  it('and the excluded ones are found in a project whose directory has a name like a pattern', () => {
    const hostile = fc
      .array(fc.constantFrom(...'(){}[]!*?+@\\ ^$|a'), { minLength: 1, maxLength: 4 })
      .map((characters) => characters.join(''));
    fc.assert(
      fc.property(hostile, (projectRoot) => {
        write(`${projectRoot}/raw/people.csv`, `${projectRoot}/raw/keep.json`, `${projectRoot}/data/a.csv`);
        const found = findIncluded({
          workspaceRoot,
          projectRoot,
          outputs: allOutputs(),
          include: ['raw', 'data/*.csv'],
          exclude: ['raw/*.csv', 'absent/**'],
        });
        expect([...found.paths].sort()).toEqual([`${projectRoot}/data/a.csv`, `${projectRoot}/raw/keep.json`]);
        expect(found.leftOut).toEqual([{ path: `${projectRoot}/raw/people.csv`, why: 'sync.exclude' }]);
        expect(found.unusedExcludes().map(({ written }) => written)).toEqual(['absent/**']);
      }),
    );
  });

  it('include empty directories', () => {
    mkdirSync(join(workspaceRoot, 'model/data/empty'), { recursive: true });
    expect(find(['data']).empty).toEqual(['model/data/empty']);
  });

  it.each([
    '../../..',
    '{workspaceRoot}/../x',
    '../../etc/**',
    '{workspaceRoot}//etc/passwd',
    '{workspaceRoot}/a/../../x',
  ])('are never outside the workspace: %s', (pattern) => {
    expect(() => find([pattern])).toThrow(/outside the workspace/);
  });

  it('never include what trainings left', () => {
    write('model/artifacts/model.json');
    expect(find(['**']).left).toEqual({ 'model/artifacts/model.json': "the trainings' output" });
  });

  it('never include what a killed collection left beside the output directory', () => {
    const scratch = makeScratch(join(workspaceRoot, 'model'), 'artifacts');
    write('model/train.py', `model/${basename(scratch)}/files/half`);
    const { paths, left } = find(['**']);
    expect(paths).toEqual(['model/train.py']);
    expect(left[`model/${basename(scratch)}/files/half`]).toBe('nx-ec2 uses it');
  });

  it('leave out .env files and environments unless their own name is given', () => {
    write('model/conf/.env', 'model/.venv/x', 'model/conf/.env.d/key', 'model/conf/app.json', 'model/conf/.ENV.local');
    const hidden = {
      'model/conf/.env': 'may hold secrets',
      'model/conf/.ENV.local': 'may hold secrets',
      'model/conf/.env.d/key': 'may hold secrets',
    };
    for (const pattern of ['conf', 'conf/**', './conf/', '{workspaceRoot}/model/conf']) {
      expect(find([pattern])).toMatchObject({ paths: ['model/conf/app.json'], left: hidden });
    }
    for (const pattern of ['.', '**', '{workspaceRoot}/model']) {
      expect(find([pattern]).left).toEqual({ ...hidden, 'model/.venv/x': 'a virtual environment' });
    }
    expect(find(['conf/.env', '.venv', 'conf/.env.d']).paths).toEqual([
      'model/.venv/x',
      'model/conf/.env',
      'model/conf/.env.d/key',
    ]);
  });

  it('include a .env file only if a pattern spells its name', () => {
    write('model/a/.env', 'model/a/b/.env.production', '.env');
    const part = fc.constantFrom(
      'a',
      'b',
      '*',
      '**',
      '.',
      '..',
      '.*',
      '?env',
      '{workspaceRoot}',
      'model',
      '[.]env',
      '',
    );
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), (parts) => {
        let sent: string[] = [];
        try {
          sent = find([parts.join('/')]).paths;
        } catch (error) {
          expect(['INCLUDE_OUTSIDE', 'GLOB_INVALID']).toContain((error as { code?: string }).code);
        }
        expect(sent.filter((path) => path.includes('.env'))).toEqual([]);
      }),
    );
  });
});
