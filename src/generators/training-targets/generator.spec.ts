import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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
  let log: jest.SpyInstance;
  const said = () => log.mock.calls.map(([text]) => String(text)).join('\n');
  beforeEach(() => {
    log = jest.spyOn(console, 'log').mockImplementation();
    tree = createTreeWithEmptyWorkspace({ formatter: 'none' });
    addProjectConfiguration(tree, 'model', { root: 'models/model' });
    tree.write('models/model/train.py', '');
  });
  afterEach(() => log.mockRestore());

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

  it('sends the git-ignored data that the training reads, unless the configuration says what is sent', async () => {
    const workspace = mkdtempSync(join(tmpdir(), 'nx-ec2-ignored-'));
    try {
      execFileSync('git', ['init', '-q', workspace]);
      // The rest of the workspace is in memory.
      Object.defineProperty(tree, 'root', { value: workspace });
      const files = { '.gitignore': '*.bin\n', 'train.bin': '0', 'train.py': 'open("train.bin")' };
      mkdirSync(join(workspace, 'm'));
      for (const [path, text] of Object.entries(files)) writeFileSync(join(workspace, 'm', path), text);
      addProjectConfiguration(tree, 'm', { root: 'm' });
      const config = 'm/ec2.config.json';
      await trainingTargets(tree, { project: 'm' });
      expect(readJson(tree, config)).toMatchObject({ sync: { include: ['train.bin'] }, train: { script: 'train.py' } });
      expect(said()).toContain('  sync.include: train.bin (train.py:1 open, git-ignored)');
      log.mockClear();
      tree.write(config, JSON.stringify({ sync: { include: ['*.bin'] }, train: { script: 'train.py' } }));
      await trainingTargets(tree, { project: 'm' });
      expect(said()).not.toContain('is unchanged');
      tree.write(config, JSON.stringify({ sync: { include: ['*.csv'] }, train: { script: 'train.py' } }));
      await trainingTargets(tree, { project: 'm' });
      expect(readJson(tree, config)).toMatchObject({ sync: { include: ['*.csv'] } });
      expect(said()).toMatch(/is unchanged\. [^\n]* add to "sync" [^\n]*\n {2}"include": \["train\.bin"\]/);
    } finally {
      rmSync(workspace, { recursive: true });
    }
  });

  it('changes nothing when it is run again, and keeps existing settings', async () => {
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

  it('writes a launch spec, and keeps an existing instance', async () => {
    const wanted = { instanceType: 'g5.xlarge, g4dn.xlarge', spot: true, instanceProfile: 'nx-ec2' };
    await trainingTargets(tree, { project: 'model', ...wanted });
    const written = { type: ['g5.xlarge', 'g4dn.xlarge'], spot: true, instanceProfile: 'nx-ec2' };
    expect(readJson(tree, 'models/model/ec2.config.json').instance).toEqual(written);
    await trainingTargets(tree, { project: 'model', instanceType: 't3.micro' });
    expect(readJson(tree, 'models/model/ec2.config.json').instance).toEqual(written);
  });

  it('refuses an invalid launch spec before it writes a file', async () => {
    const before = tree.listChanges().length;
    await expect(trainingTargets(tree, { project: 'model', spot: true })).rejects.toThrow(
      /--instanceType is not given/,
    );
    await expect(trainingTargets(tree, { project: 'model', instanceType: 'large' })).rejects.toThrow(
      /is not an instance type/,
    );
    await expect(trainingTargets(tree, { project: 'model', instanceType: ',' })).rejects.toThrow(
      /is not an instance type/,
    );
    expect(tree.listChanges()).toHaveLength(before);
  });

  it.each(['digits/train.py', 'src/digits/__main__.py'])('finds the script of a Python package: %s', async (script) => {
    tree.delete('models/model/train.py');
    tree.write(`models/model/${script}`, '');
    tree.write(`models/model/${script.replace(/[^/]*$/, '__init__.py')}`, '');
    await trainingTargets(tree, { project: 'model' });
    expect(readJson(tree, 'models/model/ec2.config.json').train).toEqual({ script });
  });

  it("keeps existing targets, also of @nxlv/python, and writes the plugin's beside them if asked to", async () => {
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

  describe('what it detects', () => {
    const train = "import torch\nimport wandb\nwandb.init()\ntorch.save(model, 'snapshot.pt')\n";
    const config = 'models/model/ec2.config.json';

    it('is written if it differs from the defaults, git-ignored, and reported with its place', async () => {
      tree.write('models/model/train.py', train);
      tree.write('models/model/requirements.txt', 'torch');
      await trainingTargets(tree, { project: 'model' });
      const outputs = ['snapshot.pt', 'wandb/'];
      const checkpoints = { paths: ['snapshot.pt'] };
      expect(readJson(tree, config).train).toEqual({ script: 'train.py', outputs, checkpoints });
      expect(tree.read('models/model/.gitignore', 'utf8')).toMatch(/^\/snapshot\.pt$[^]*^\/wandb$/m);
      expect(said()).toBe(`Found in models/model:
  script: train.py (by its name)
  framework: PyTorch (train.py:1), W&B (train.py:2)
  outputs: snapshot.pt (train.py:4 torch.save)
  outputs: wandb/ (train.py:3 wandb.init)
  checkpoints: snapshot.pt (train.py:4 torch.save)
  environment: pip, from models/model/requirements.txt
  note: W&B (train.py:3 wandb.init) needs a key: add "secrets": { "WANDB_API_KEY": "ssm:<parameter>" } to "train", or "env": { "WANDB_MODE": "offline" }`);
    });

    it('is only reported if the project is configured already', async () => {
      tree.write('models/model/train.py', train);
      const text = '{ "train": { "script": "train.py", "outputs": ["snapshot.pt"] } }';
      tree.write(config, text);
      await trainingTargets(tree, { project: 'model' });
      expect(tree.read(config, 'utf8')).toBe(text);
      expect(said()).toMatch(
        /is unchanged\. To use what was found, add to "train" [^\n]*\n {2}"outputs": \["wandb\/"\]\n {2}"checkpoints": \{"paths":\["snapshot.pt"\]\}$/,
      );
    });

    it('is only reported if the file has comments', async () => {
      tree.write('models/model/train.py', train);
      const text = '{ "region": "eu-west-1" /* ours */ }';
      tree.write(config, text);
      await trainingTargets(tree, { project: 'model' });
      expect(tree.read(config, 'utf8')).toBe(text);
      expect(said()).toMatch(
        /is unchanged[^]*"script": "train.py"\n {2}"outputs": \["snapshot.pt","wandb\/"\]\n {2}"checkpoints": \{"paths":\["snapshot.pt"\]\}$/,
      );
    });

    it('is found in a project whose files are large, binary or of other projects', async () => {
      addProjectConfiguration(tree, 'inner', { root: 'models/model/inner' });
      tree.write('models/model/train.py', `${train}from inner import x\nimport large\n`);
      tree.write('models/model/inner/__init__.py', 'open("inner.txt", "w")');
      tree.write('models/model/large.py', `${'#'.repeat(1_000_000)}\nopen("large.txt", "w")`);
      tree.write('models/model/binary.py', Buffer.from([0xff, 0xfe, 0, 1, 2, 34, 39]));
      await trainingTargets(tree, { project: 'model' });
      expect(readJson(tree, config).train.outputs).toEqual(['snapshot.pt', 'wandb/']);
    });

    it('is overridden by options', async () => {
      tree.write('models/model/train.py', train);
      await trainingTargets(tree, { project: 'model', command: 'bash run.sh', outputs: ['mine/'] });
      expect(readJson(tree, config).train).toEqual({ command: 'bash run.sh', outputs: ['mine/'] });
    });

    it.each([
      ['pdm.lock', 'pdm sync', 'pdm run'],
      ['pixi.toml', 'pixi install', 'pixi run'],
    ])('has the commands of a tool that nx-ec2 does not run (%s)', async (dependencyFile, setup, run) => {
      tree.write('models/model/pyproject.toml', '[project]\nname = "model"\n');
      tree.write(`models/model/${dependencyFile}`, '');
      tree.write('models/model/train.py', 'import os\nrank = os.environ["LOCAL_RANK"]\n');
      await trainingTargets(tree, { project: 'model', script: 'train.py' });
      const file = 'models/model/ec2.config.json';
      expect(readJson(tree, file).train).toEqual({ command: `${run} python train.py`, setup });
      expect(said()).toMatch(new RegExp(`  command: ${run} python train\\.py \\(--script, models/model/`));
      expect(said()).toMatch(/ {2}environment: by train\.setup, from models\/model\//);
      tree.delete(file);
      await trainingTargets(tree, { project: 'model' });
      const launched = `${run} torchrun --standalone --nproc_per_node=auto train.py`;
      expect(readJson(tree, file).train).toEqual({ command: launched, setup });
      tree.delete(file);
      const own = { project: 'model', command: `${run} train` };
      await trainingTargets(tree, own);
      // `pixi run` makes the environment that it runs in.
      expect(readJson(tree, file).train).toEqual({ command: own.command, ...(run === 'pdm run' ? { setup } : {}) });
    });

    it('needs one start', async () => {
      await expect(trainingTargets(tree, { project: 'model', script: 'a.py', command: 'b' })).rejects.toThrow(/both/);
      await expect(trainingTargets(tree, { project: 'model', command: 'a && b' })).rejects.toThrow(/without a shell/);
      expect(tree.exists(config)).toBe(false);
    });
  });

  it('says what to do if there is no script', async () => {
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

  it('matches that path in git, and no other', () => {
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

  it('is an error for a path that no pattern can name', () => {
    fc.assert(
      fc.property(fc.array(name('ab*\n\r \t'), { minLength: 20, maxLength: 40 }), (paths) => {
        expect(matched(paths)).not.toContain(null);
      }),
      { numRuns: 15 },
    );
  });
});
