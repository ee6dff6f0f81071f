import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addProjectConfiguration, readJson, readProjectConfiguration, type Tree } from '@nx/devkit';
import { createTreeWithEmptyWorkspace } from '@nx/devkit/testing';
import fc from 'fast-check';
import { Problem } from '../../report/problem';
import trainingProject, { distributionName } from './generator';

describe('training-project', () => {
  let tree: Tree;
  beforeEach(() => {
    tree = createTreeWithEmptyWorkspace({ formatter: 'none' });
  });

  it('scaffolds a project with all that a training needs', async () => {
    await trainingProject(tree, { directory: 'models/foo', environment: 'none', tags: 'ml, vision' });
    expect(readProjectConfiguration(tree, 'foo')).toMatchObject({ root: 'models/foo', tags: ['ml', 'vision'] });
    expect(readJson(tree, 'models/foo/ec2.config.json').train).toEqual({ script: 'train.py' });
    expect(tree.read('models/foo/train.py', 'utf8')).toContain('Trains foo:');
    expect(tree.read('models/foo/.gitignore', 'utf8')).toBe('/artifacts/\n');
    expect(tree.exists('models/foo/pyproject.toml')).toBe(false);
  });

  it('scaffolds a training that resumes from its checkpoint directory, with tests that pass', async () => {
    await trainingProject(tree, { directory: 'foo', environment: 'none' });
    expect(tree.read('foo/README.md', 'utf8')).toContain('npx nx run foo:remote-train --resumeFrom=last');
    const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-scaffold-'));
    try {
      for (const name of ['train.py', 'test_train.py'])
        writeFileSync(join(directory, name), tree.read(`foo/${name}`, 'utf8')!);
      const python = (...words: string[]) =>
        execFileSync('python3', words, {
          cwd: directory,
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'pipe'],
          env: { ...process.env, NX_EC2_CHECKPOINT_DIR: join(directory, 'saved') },
        });
      python('-m', 'unittest', '-q');
      expect(python('train.py', '--epochs=2')).toMatch(/^epoch 1\/2 {2}loss \d\.\d+ {2}accuracy \d\.\d+\n/);
      expect(readdirSync(join(directory, 'saved'))).toEqual(['last.json']);
      expect(readdirSync(join(directory, 'artifacts')).sort()).toEqual(['loss.svg', 'metrics.json', 'model.json']);
      expect(python('train.py', '--epochs=3')).toMatch(/^resumed after epoch 2\nepoch 3\/3 /);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('adds what the Python tool needs', async () => {
    await trainingProject(tree, { directory: 'a', environment: 'uv', name: 'My.Model' });
    expect(tree.read('a/pyproject.toml', 'utf8')).toContain('name = "my-model"');
    await trainingProject(tree, { directory: 'b', environment: 'pip' });
    expect(tree.exists('b/requirements.txt')).toBe(true);
  });

  it.each([
    ['uv.lock and pyproject.toml', { 'uv.lock': '', 'pyproject.toml': '[project]\nname = "all"\n' }, true],
    ['nothing', {}, true],
    ['a dependency file in another directory', { 'other/requirements.txt': '' }, true],
    ['requirements.txt', { 'requirements.txt': '' }, false],
    ['poetry.lock', { 'models/pyproject.toml': '[tool.poetry]\n', 'models/poetry.lock': '' }, false],
    ['environment.yml', { 'models/environment.yml': '' }, false],
  ])('chooses uv unless a directory above has an environment of another tool: %s', async (_name, files, uv) => {
    for (const [path, text] of Object.entries(files)) tree.write(path, text);
    await trainingProject(tree, { directory: 'models/c' });
    expect(tree.exists('models/c/pyproject.toml')).toBe(uv);
  });

  it('keeps existing files when it is run again', async () => {
    await trainingProject(tree, { directory: 'models/foo' });
    tree.write('models/foo/train.py', 'mine');
    tree.delete('models/foo/.gitignore');
    await trainingProject(tree, { directory: 'models/foo/' });
    expect(tree.read('models/foo/train.py', 'utf8')).toBe('mine');
    expect(tree.exists('models/foo/.gitignore')).toBe(true);
  });

  it('refuses a name that another project has', async () => {
    addProjectConfiguration(tree, 'foo', { root: 'libs/foo' });
    await expect(trainingProject(tree, { directory: 'models/foo' })).rejects.toThrow(/libs\/foo[^]*--name/);
  });

  it.each(Object.getOwnPropertyNames(Object.prototype))(
    'refuses the name %s, which every JavaScript object has',
    async (name) => {
      await expect(trainingProject(tree, { directory: `models/${name}` })).rejects.toBeInstanceOf(Problem);
      await expect(trainingProject(tree, { directory: 'models/foo', name })).rejects.toThrow(
        /can't be the name.*--name/s,
      );
      await trainingProject(tree, { directory: 'models/foo', name: 'foo' });
    },
  );

  it('accepts any directory below the workspace, or says what to do; nothing is written elsewhere', async () => {
    const part = fc.oneof(
      fc.constantFrom(...Object.getOwnPropertyNames(Object.prototype)),
      fc.constantFrom('..', '.', '', 'a b', '$(x)', '-x', 'models', 'foo', "o'clock", 'node_modules', '\n', '{{x}}'),
      fc.string({ maxLength: 12 }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(part, { maxLength: 4 }), async (parts) => {
        const fresh = createTreeWithEmptyWorkspace({ formatter: 'none' });
        const before = new Set(fresh.listChanges().map(({ path }) => path));
        const refused = await trainingProject(fresh, { directory: parts.join('/') }).then(
          () => null,
          (error: unknown) => error,
        );
        if (refused) {
          expect(refused).toBeInstanceOf(Problem);
          expect(fresh.listChanges().filter(({ path }) => !before.has(path))).toEqual([]);
          return;
        }
        const written = fresh.listChanges().filter(({ path }) => !before.has(path));
        const root = written.find(({ path }) => path.endsWith('/train.py'))!.path.replace(/train\.py$/, '');
        for (const { path } of written) expect(path === 'nx.json' || path.startsWith(root)).toBe(true);
        expect(root).toMatch(/^([A-Za-z0-9][A-Za-z0-9._-]*\/)+$/);
      }),
      { numRuns: 60 },
    );
  });

  it('turns any name into one that pyproject.toml allows', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/), (name) => {
        expect(distributionName(name)).toMatch(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/);
      }),
    );
  });
});
