import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DescribeInstancesCommand } from '@aws-sdk/client-ec2';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { prune } from '../prune/prune';
import { DAY } from '../store/store.fixture';
import { takeDownProject } from './stop/take-down-project';
import { cancelRun } from './stop/cancel';
import { resolveRun } from './find/find-run';
import { listed, Pipeline, startPipeline } from './pipeline.fixture';
import { listStatus } from './status/status';

const FOREVER = 'import time\nprint("ready", flush=True)\ntime.sleep(600)\n';

describe.each([
  ['one store', ''],
  ['two prefixes of a bucket', 'other/'],
])('two workspaces with a project of the same name, one instance and %s', (_, prefix) => {
  let at: Fixture;
  let one: Pipeline;
  let other: Pipeline;
  beforeAll(async () => void (at = await startPipeline()));
  afterAll(() => at.close());
  beforeEach(async () => {
    one = await new Pipeline(at, 'store').open();
    other = await new Pipeline(at, 'store', one.project).open({ prefix });
  });
  afterEach(() => {
    one.close();
    other.close();
  });

  const signal = new AbortController().signal;
  const launched = async (pipe: Pipeline, script: string) => {
    pipe.write('model/train.py', script);
    const { run, settled } = await pipe.launch();
    await settled;
    return run;
  };

  it('have a tree each', async () => {
    one.write('model/a', 'of one');
    other.write('model/b', 'of the other');
    const trees = [(await one.sync()).reply.tree, (await other.sync()).reply.tree];
    one.write('model/a', 'edited');
    await one.sync();
    expect(trees.map((tree) => listed(tree))).toEqual([['model/a'], ['model/b']]);
    expect(readFileSync(join(trees[0], 'model/a'), 'utf8')).toBe('edited');
    // What prune keeps of one, it keeps of the other.
    const { store } = one.context;
    const limits = {
      olderThan: 14 * DAY,
      refsOlderThan: 90 * DAY,
      keepSnapshots: 0,
      runsOlderThan: 90 * DAY,
      keepRuns: 0,
    };
    await prune(store, '', { ...limits, apply: true });
    for (const pipe of [one, other]) {
      rmSync(pipe.memory, { recursive: true, force: true });
      const { reply, sent } = await pipe.sync();
      expect([reply.written, sent.uploaded]).toEqual([0, 0]);
    }
  });

  it('use their own runs, and end nothing of the other', async () => {
    const first = await launched(one, FOREVER);
    const second = await launched(other, `${FOREVER}# the other\n`);
    expect((await resolveRun(one.context, undefined)).record.id).toBe(first.id);
    expect((await resolveRun(other.context, undefined)).record.id).toBe(second.id);
    const seen = (await listStatus(one.context, 10, signal)).map(({ id }) => id).sort();
    expect(seen).toEqual(prefix ? [first.id] : [first.id, second.id].sort());

    const mine = await resolveRun(other.context, undefined);
    const { run } = await cancelRun(other.context, mine.record, signal);
    expect([run.id, run.outcome]).toEqual([second.id, 'cancelled']);
    const down = takeDownProject(other.context, await other.context.owner(), { stop: true, force: false });
    await expect(down).rejects.toMatchObject({ code: 'RUN_ACTIVE' });
    const { instance } = one.context;
    const { Reservations = [] } = await at.ec2.send(new DescribeInstancesCommand({ InstanceIds: [instance] }));
    expect(Reservations[0].Instances![0].State!.Name).toBe('running');
    expect((await resolveRun(one.context, undefined)).record.state).toBe('running');
    await cancelRun(one.context, first, signal);
  });

  it('say that they have no run if only the other has one', async () => {
    const run = await launched(one, 'print(1)\n');
    await one.follow(run);
    await expect(resolveRun(other.context, undefined)).rejects.toMatchObject({
      code: 'NO_RUN',
      message: expect.stringContaining('has no run of yours in this workspace'),
    });
  });
});
