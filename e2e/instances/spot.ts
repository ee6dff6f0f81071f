import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { World } from '../worlds';
import { until } from '../../src/system/until.fixture';
import { gone, aliveInstances, launchedFor } from './made';

const EPOCHS = 250;
const FILES = ['model.json', 'metrics.json', 'predictions.csv'];

/** The example, interrupted in the middle of an epoch three times, ends as the uninterrupted one, bit for bit. */
export function spot(at: () => World): void {
  const write = (name: string, instance: object) => {
    const world = at();
    const own = join(world.nx.workspace, 'models', name);
    const script = readFileSync(join(world.nx.workspace, 'digits/train.py'), 'utf8');
    world.nx.project(name, script.replace('os.path.join(HERE, "..", "libs"', 'os.path.join(HERE, "../..", "libs"'), {
      bucket: 'nx-ec2-local',
      storeAccess: 'role',
      instance: { type: 't3.micro', instanceProfile: 'trainer', ...instance },
      train: { args: `--epochs ${EPOCHS}`, checkpoints: { keep: 3 } },
    });
    writeFileSync(join(own, 'project.json'), JSON.stringify({ name, implicitDependencies: ['dataset'] }));
    cpSync(join(world.nx.workspace, 'digits/data'), join(own, 'data'), { recursive: true });
    return FILES.map((file) => join(own, 'artifacts', file));
  };
  const contents = (files: string[]) => files.map((file) => readFileSync(file, 'utf8'));
  const epochs = (text: string) => [...text.matchAll(/epoch (\d+)\//g)].map(([, epoch]) => Number(epoch));

  /** Takes the instance of the run away three times, each after it has trained for a while. */
  const interrupt = async (name: string, trained: (instance: string) => boolean) => {
    const { aws } = at();
    for (let times = 0; times < 3; times++) {
      await until(() => aliveInstances(aws, name).some(trained), { what: `attempt ${times + 1} of ${name}` });
      const [id] = aliveInstances(aws, name).filter(trained);
      aws.interrupt(id, { noticeMs: 8_000 });
      await until(() => !aliveInstances(aws, name).includes(id), { what: `the end of ${id}` });
    }
  };
  /** Whether an instance has saved a checkpoint of its own attempt. */
  const saved = (name: string) => (id: string) => {
    const { aws } = at();
    const runs = join(aws.instances.disk(id), 'root/runs');
    try {
      const [run] = launchedFor(aws, name).flatMap(({ tags }) => tags['nx-ec2:run'] ?? []);
      const { kept, attempt } = JSON.parse(readFileSync(join(runs, run, 'checkpoints.json'), 'utf8'));
      return kept.some((each: { attempt: number }) => each.attempt === attempt);
    } catch {
      return false;
    }
  };

  let plain: Promise<string[]> | undefined;
  const uninterrupted = () =>
    (plain ??= (async () => {
      const files = write('plain', {});
      await at().nx.run(['plain:remote-train']).ends(0);
      return contents(files);
    })());

  it.concurrent('ends with the same result with a client that follows', async () => {
    const files = write('followed', { spot: true });
    const train = at().nx.run(['followed:remote-train', '--json']);
    await Promise.all([train.ends(0), interrupt('followed', saved('followed'))]);
    expect(contents(files)).toEqual(await uninterrupted());
    // The log is one: what was not saved yet is trained, and said, again.
    expect(train.text.match(/resumed after epoch/g)).toHaveLength(3);
    expect(new Set(epochs(train.text)).size).toBe(EPOCHS);
    // Those of an attempt that was interrupted are not the result.
    expect(train.text.match(/Metrics: epoch \d+/g)).toEqual([`Metrics: epoch ${EPOCHS}`]);
    expect(train.result).toMatchObject({ success: true, attempts: 4 });
    await gone(at().aws, 'followed');
    expect(launchedFor(at().aws, 'followed')).toHaveLength(4);
  });

  it.concurrent('ends with the same result without a client', async () => {
    const files = write('alone', { spot: true, recovery: 'fleet', maxLifetime: '10m' });
    const submit = await at().nx.run(['alone:remote-submit', '--json']).ends(0);
    await interrupt('alone', saved('alone'));
    // Between two instances there is none, but a fleet.
    await until(() => at().aws.left().fleets.length === 0, { what: 'the end of the fleet', seconds: 600 });
    await gone(at().aws, 'alone');
    const pull = await at()
      .nx.run(['alone:remote-pull', `--run=${submit.result.run}`])
      .ends(0);
    expect(pull.text).toContain('Pulled 3 files');
    expect(contents(files)).toEqual(await uninterrupted());
    const status = await at()
      .nx.run(['alone:remote-status', `--run=${submit.result.run}`, '--json'])
      .ends(0);
    expect(status.result.runs[0]).toMatchObject({ outcome: 'succeeded', attempt: 4 });
  });
}
