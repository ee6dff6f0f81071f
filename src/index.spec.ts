import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExpandedPluginConfiguration, TargetConfiguration } from '@nx/devkit';
import { createNodes, createNodesV2 } from './index';

describe('the inferred targets of a workspace', () => {
  const workspaceRoot = mkdtempSync(join(tmpdir(), 'nx-ec2-infer-'));
  afterAll(() => rmSync(workspaceRoot, { recursive: true }));

  /** Target names and whether remote-train is cached, by project. */
  async function infer(files: Record<string, string>, ...plugins: ExpandedPluginConfiguration[]) {
    const paths = Object.entries(files).map(([project, text]) => {
      mkdirSync(join(workspaceRoot, project), { recursive: true });
      writeFileSync(join(workspaceRoot, project, 'ec2.config.json'), text);
      return `${project}/ec2.config.json`;
    });
    const nodes = await createNodes[1](paths, undefined, { workspaceRoot, nxJsonConfiguration: { plugins } });
    return Object.fromEntries(
      nodes.flatMap(([, { projects }]) =>
        Object.entries(projects ?? {}).map(([root, { targets }]): [string, Record<string, TargetConfiguration>] => [
          root,
          targets!,
        ]),
      ),
    );
  }

  it('has the same plugin under the old name createNodesV2', () => {
    expect(createNodesV2).toBe(createNodes);
  });

  it.each([
    ['a misspelled key', '{ "train": { "scrpt": "train.py" } }'],
    ['a key of train at the top', '{ "script": "train.py" }'],
    [
      'a wrong value that is not part of the cache key',
      '{ "train": { "script": "train.py", "timeout": "8 hours x" } }',
    ],
    ['wrong types', '{ "train": { "script": 3, "passEnv": 4, "outputs": 5 }, "sync": [] }'],
    ['broken syntax', '{ "train": '],
    ['an empty file', ''],
    ['a list', '[]'],
    ['an output outside the project', '{ "train": { "script": "train.py", "outputs": ["../x"] } }'],
  ])('exist and are not cached, and other projects keep theirs: %s', async (_, bad) => {
    const targets = await infer({ bad, good: '{ "train": { "script": "train.py", "timeout": "8h" } }' });
    expect(Object.keys(targets.bad)).toEqual(Object.keys(targets.good));
    expect(targets.bad['remote-train']).toMatchObject({ cache: false });
    expect(targets.good['remote-train']).toMatchObject({ cache: true });
    // Of both, Nx keeps the output by the hash of the inputs.
    const withKey = expect.arrayContaining([{ runtime: expect.stringContaining('cache-key') }]);
    expect(targets.good['remote-train'].inputs).toEqual(withKey);
    expect(targets.bad['remote-train'].inputs).not.toEqual(withKey);
  });

  it('exist for an empty ec2.config.json, since the command line may name the script', async () => {
    const { empty } = await infer({ empty: '{}' });
    expect(Object.keys(empty)).toEqual(expect.arrayContaining(['remote-train', 'remote-submit']));
  });

  it('are not cached if the options in nx.json are wrong', async () => {
    const files = { good: '{ "train": { "script": "train.py" } }' };
    const entry = (bucket: string) => ({ plugin: 'nx-ec2', options: { bucket, trainTargetName: 'fit' } });
    expect((await infer(files, entry('s3://acme'))).good.fit.cache).toBe(false);
    expect((await infer(files, entry('acme-training'))).good.fit.cache).toBe(true);
  });

  it('come only from the entries of nx.json that apply to the project', async () => {
    const text = '{ "train": { "script": "train.py" } }';
    const entry = (directory: string, options: object) => ({
      plugin: 'nx-ec2',
      include: [`${directory}/**`],
      options,
    });
    const { a, b } = await infer(
      { a: text, b: text },
      entry('a', { trainTargetName: 'fit', train: { passEnv: ['TOKEN'] } }),
      entry('b', { bucket: 's3://wrong' }),
    );
    expect(a.fit).toMatchObject({ cache: true, inputs: expect.arrayContaining([{ env: 'TOKEN' }]) });
    expect(b['remote-train'].cache).toBe(false);
    expect(JSON.stringify(b['remote-train'].inputs)).not.toContain('TOKEN');
  });
});
