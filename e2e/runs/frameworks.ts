import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FRAMEWORKS } from '../../src/projects/frameworks.fixture';
import { listed } from '../../src/run/pipeline.fixture';
import type { World } from '../worlds';

/** Projects whose results lie where their framework puts them, and are not git-ignored. */
export function frameworks(at: () => World): void {
  it.concurrent('Nx restores the results of each framework from its cache, wherever they lie', async () => {
    const world = at();
    const { nx } = world;
    const instance = world.launch();
    const names = Object.keys(FRAMEWORKS);
    const root = (name: string) => join(nx.workspace, 'models', name);
    for (const [name, { files, config }] of Object.entries(FRAMEWORKS)) {
      const settings = { bucket: 'nx-ec2-local', instance, ...config };
      const all = { ...files, 'project.json': JSON.stringify({ name }), 'ec2.config.json': JSON.stringify(settings) };
      for (const [path, content] of Object.entries(all)) {
        mkdirSync(dirname(join(root(name), path)), { recursive: true });
        writeFileSync(join(root(name), path), content);
      }
    }
    const contents = () =>
      names.flatMap((name) =>
        listed(root(name)).map((path) => [name, path, readFileSync(join(root(name), path), 'utf8')]),
      );
    const before = contents().length;
    const train = () =>
      nx.command(['run-many', '-t', 'remote-train', '-p', names.join(), '--outputStyle=stream']).ends(0);

    const first = await train();
    const trained = contents();
    expect([trained.length > before, first.text.match(/The training succeeded/g)]).toEqual([
      true,
      names.map(() => 'The training succeeded'),
    ]);
    const outputs = ['artifacts', 'outputs', 'multirun', 'lightning_logs', 'output', 'wandb', 'runs'];
    for (const name of names)
      for (const each of outputs) rmSync(join(root(name), each), { recursive: true, force: true });
    expect(contents()).toHaveLength(before);
    const second = await train();
    expect(second.text).toMatch(
      new RegExp(`from the cache instead of running the command for ${names.length} out of ${names.length}`),
    );
    expect(contents()).toEqual(trained);
  });
}
