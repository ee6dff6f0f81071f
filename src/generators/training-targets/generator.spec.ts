import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  addProjectConfiguration,
  readJson,
  readNxJson,
  readProjectConfiguration,
  updateProjectConfiguration,
  type Tree,
} from '@nx/devkit';
import fc from 'fast-check';
import { createTreeWithEmptyWorkspace } from '@nx/devkit/testing';
import init from '../init/generator';
import trainingTargets, { escapeIgnorePattern } from './generator';

describe('training-targets', () => {
  let tree: Tree;
  beforeEach(() => {
    tree = createTreeWithEmptyWorkspace({ formatter: 'none' });
    addProjectConfiguration(tree, 'model', { root: 'models/model' });
    tree.write('models/model/train.py', '');
  });

  it('adds the configuration, registers the plugin and git-ignores the artifacts', async () => {
    await trainingTargets(tree, { project: 'model' });
    expect(readJson(tree, 'models/model/ec2.config.json')).toEqual({
      $schema: '../../node_modules/nx-ec2/ec2.config.schema.json',
      train: { script: 'train.py' },
    });
    expect(readNxJson(tree)!.plugins).toEqual([{ plugin: 'nx-ec2', options: {} }]);
    expect(tree.read('models/model/.gitignore', 'utf8')).toBe('/artifacts/\n');
  });

  it('git-ignores outputs and checkpoints, each once', async () => {
    const train = {
      script: 'train.py',
      outputs: ['out/'],
      checkpoints: { paths: ['out/', 'output/checkpoint-*', 'snapshot.pt', 'a/{b,c}.pt'] },
    };
    tree.write('models/model/ec2.config.json', JSON.stringify({ train }));
    await trainingTargets(tree, { project: 'model' });
    expect(tree.read('models/model/.gitignore', 'utf8')!.split('\n')).toEqual([
      ...['/out', '/out.nx-ec2.json', '/artifacts/', '/output/checkpoint-*', '/snapshot.pt', ''],
    ]);
  });

  it('changes nothing when it is run again, and keeps what is there', async () => {
    await init(tree, { bucket: 'mine' });
    tree.write('models/model/ec2.config.json', JSON.stringify({ region: 'x', train: { command: 'make' } }));
    await trainingTargets(tree, { project: 'model' });
    const once = tree.listChanges().map(({ path, content }) => [path, content?.toString()]);
    await init(tree, { bucket: 'other' });
    await trainingTargets(tree, { project: 'model' });
    expect(tree.listChanges().map(({ path, content }) => [path, content?.toString()])).toEqual(once);
    expect(readJson(tree, 'models/model/ec2.config.json')).toMatchObject({ region: 'x', train: { command: 'make' } });
    expect(readNxJson(tree)!.plugins).toEqual([{ plugin: 'nx-ec2', options: { bucket: 'mine' } }]);
  });

  it('describes an instance that is made when it is needed, and keeps the one that is there', async () => {
    const wanted = { instanceType: 'g5.xlarge, g4dn.xlarge', spot: true, instanceProfile: 'nx-ec2' };
    await trainingTargets(tree, { project: 'model', ...wanted });
    const written = { type: ['g5.xlarge', 'g4dn.xlarge'], spot: true, instanceProfile: 'nx-ec2' };
    expect(readJson(tree, 'models/model/ec2.config.json').instance).toEqual(written);
    await trainingTargets(tree, { project: 'model', instanceType: 't3.micro' });
    expect(readJson(tree, 'models/model/ec2.config.json').instance).toEqual(written);
  });

  it('refuses what describes no instance, before anything is written', async () => {
    const before = tree.listChanges().length;
    await expect(trainingTargets(tree, { project: 'model', spot: true })).rejects.toThrow(
      /--instanceType is not given/,
    );
    await expect(trainingTargets(tree, { project: 'model', instanceType: 'large' })).rejects.toThrow(
      /no instance type/,
    );
    await expect(trainingTargets(tree, { project: 'model', instanceType: ',' })).rejects.toThrow(/no instance type/);
    expect(tree.listChanges()).toHaveLength(before);
  });

  it.each(['digits/train.py', 'src/digits/__main__.py'])('finds the script of a Python package: %s', async (script) => {
    tree.delete('models/model/train.py');
    tree.write(`models/model/${script}`, '');
    tree.write(`models/model/${script.replace(/[^/]*$/, '__init__.py')}`, '');
    await trainingTargets(tree, { project: 'model' });
    expect(readJson(tree, 'models/model/ec2.config.json').train).toEqual({ script });
  });

  it("keeps the targets of @nxlv/python and one's own, and writes ours beside them where asked", async () => {
    const own = { executor: '@nxlv/python:build' };
    updateProjectConfiguration(tree, 'model', {
      root: 'models/model',
      targets: { build: own, 'remote-sync': { executor: 'mine:sync' } },
    });
    await trainingTargets(tree, { project: 'model', explicit: true });
    const { targets } = readProjectConfiguration(tree, 'model');
    expect(targets).toMatchObject({
      build: own,
      'remote-sync': { executor: 'mine:sync' },
      'remote-train': { executor: 'nx-ec2:remote-train', cache: true, outputs: ['{projectRoot}/artifacts'] },
    });
    expect(readNxJson(tree)!.plugins).toBeUndefined();
  });

  it('says what to do where there is no script', async () => {
    tree.delete('models/model/train.py');
    await expect(trainingTargets(tree, { project: 'model' })).rejects.toThrow(/--script/);
  });
});

describe('a path as a pattern of .gitignore', () => {
  let root: string;
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'nx-ec2-ignore-'));
    execFileSync('git', ['-C', root, 'init', '-q']);
  });
  afterAll(() => rmSync(root, { recursive: true }));

  const name = (characters: string) =>
    fc
      .array(fc.constantFrom(...characters), { minLength: 1, maxLength: 5 })
      .map((parts) => parts.join(''))
      .filter((text) => text !== '.' && text !== '..');
  /** For each path, the one whose pattern git finds for a file in it; null: none. */
  const matched = (paths: string[]) => {
    const patterns = paths.map((path) => `/${escapeIgnorePattern(path)}`);
    writeFileSync(join(root, '.gitignore'), `${patterns.join('\n')}\n`);
    const input = paths.map((path) => `./${path}/x\0`).join('');
    const args = ['-C', root, 'check-ignore', '--no-index', '-z', '-v', '-n', '--stdin'];
    const fields = execFileSync('git', args, { input, encoding: 'utf8' }).split('\0');
    return paths.map((_, at) => paths[Number(fields[4 * at + 1]) - 1] ?? null);
  };

  it('is what git reads as that path, and as no other', () => {
    const path = fc.array(name('ab*?[]!#\\{}()-^ .:é'), { minLength: 1, maxLength: 2 }).map((parts) => parts.join('/'));
    fc.assert(
      fc.property(
        fc.uniqueArray(
          path.filter((each) => !each.endsWith(' ')),
          { minLength: 40, maxLength: 80 },
        ),
        (paths) => {
          const outermost = paths.filter((each) => !paths.some((other) => each.startsWith(`${other}/`)));
          expect(matched(outermost)).toEqual(outermost);
        },
      ),
      { numRuns: 15 },
    );
  });

  it('names what no pattern can hold', () => {
    fc.assert(
      fc.property(fc.array(name('ab*\n\r \t'), { minLength: 20, maxLength: 40 }), (paths) => {
        expect(matched(paths)).not.toContain(null);
      }),
      { numRuns: 15 },
    );
  });
});
