import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TargetConfiguration } from '@nx/devkit';
import { createNodesV2 } from './index';

describe('the inferred targets of a workspace', () => {
  const workspaceRoot = mkdtempSync(join(tmpdir(), 'nx-ec2-infer-'));
  afterAll(() => rmSync(workspaceRoot, { recursive: true }));

  /** Target names and whether remote-train is cached, by project. */
  async function infer(files: Record<string, string>, options: Record<string, unknown> = {}) {
    const paths = Object.entries(files).map(([project, text]) => {
      mkdirSync(join(workspaceRoot, project), { recursive: true });
      writeFileSync(join(workspaceRoot, project, 'ec2.config.json'), text);
      return `${project}/ec2.config.json`;
    });
    const nodes = await createNodesV2[1](paths, options, { workspaceRoot, nxJsonConfiguration: {} });
    return Object.fromEntries(
      nodes.flatMap(([, { projects }]) =>
        Object.entries(projects ?? {}).map(([root, { targets }]): [string, Record<string, TargetConfiguration>] => [
          root,
          targets!,
        ]),
      ),
    );
  }

  it.each([
    ['a misspelt key', '{ "train": { "scrpt": "train.py" } }'],
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
    expect(targets.bad['remote-train']).toMatchObject({ cache: false, options: {} });
    expect(targets.good['remote-train']).toMatchObject({ cache: true, options: { script: 'train.py' } });
  });

  it('exist for an empty object, where the command line may name the script', async () => {
    const { empty } = await infer({ empty: '{}' });
    expect(Object.keys(empty)).toEqual(expect.arrayContaining(['remote-train', 'remote-submit']));
  });

  it('are not cached where the options in nx.json are wrong', async () => {
    const files = { good: '{ "train": { "script": "train.py" } }' };
    const { good } = await infer(files, { bucket: 's3://acme', trainTargetName: 'fit' });
    expect(good.fit.cache).toBe(false);
    expect((await infer(files, { bucket: 'acme-training', trainTargetName: 'fit' })).good.fit.cache).toBe(true);
  });
});
