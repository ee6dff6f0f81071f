import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { collectArtifacts } from '../artifacts/collect';
import { resolveRun, findDuplicateRun, isKnownActive } from './find-run';
import { announceRun, indexRunKey, latestRunForKey } from './run-key-index';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import { readRecord } from '../record/record';
import { putRecord } from '../record/saved-run.fixture';
import { Problem } from '../../report/problem';
import { until } from '../../system/until.fixture';
import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';

/** The same training, asked for more than once, over the wire of local AWS. */
describe('a training that is started again', () => {
  let at: Fixture;
  let pipe: Pipeline;

  beforeAll(async () => void (at = await startPipeline()));
  afterAll(() => at.close());
  beforeEach(async () => {
    pipe = await new Pipeline(at, 'auto').open();
    pipe.write('model/train.py', 'import time\ntime.sleep(1)\nopen("artifacts/made", "w").write("made")\n');
  });
  afterEach(() => pipe.close());

  it('is not repeated if it has succeeded, however often its artifacts were collected, unless a new run is requested', async () => {
    const first = await pipe.launch();
    expect(first.attached).toBe(false);
    await first.settled;
    const { run } = await pipe.follow(first.run, { first: first.log });
    expect(run.outcome).toBe('succeeded');
    // Another machine, which remembers nothing.
    await pipe.forget();
    const commands = at.aws.commands.length;
    for (let time = 0; time < 2; time++) {
      const again = await pipe.launch();
      expect([again.attached, again.run.id]).toEqual(['ended', run.id]);
      expect((await collectArtifacts(pipe.context, run)).artifacts.map(({ path }) => path)).toEqual(['artifacts/made']);
      // Nothing is ignored here.
      rmSync(join(pipe.workspace, 'model/artifacts'), { recursive: true });
    }
    expect(at.aws.commands).toHaveLength(commands);
    const rerun = await pipe.launch({ rerun: true });
    expect(rerun.attached).toBe(false);
    expect(rerun.run.id).not.toBe(run.id);
    await pipe.follow(rerun.run);
  });

  it('is attached to while it is active, on any instance', async () => {
    const first = await pipe.launch();
    await first.settled;
    const second = await pipe.launch();
    expect([second.attached, second.run.id]).toEqual(['running', first.run.id]);
    const [a, b] = await Promise.all([pipe.follow(first.run), pipe.follow(second.run)]);
    expect([a.run.outcome, b.run.outcome]).toEqual(['succeeded', 'succeeded']);
  });

  it('is not attached to if its instance was terminated a moment ago, whatever its record says', async () => {
    const { store, keys } = pipe.context;
    pipe.write('model/train.py', 'import time\ntime.sleep(600)\n');
    const instance = await pipe.openSpot();
    const first = await pipe.launch();
    await first.settled;
    const { runKey, id } = first.run;
    await until(async () => (await readRecord(store, keys, id))?.record.state === 'running');
    expect((await findDuplicateRun(pipe.context, runKey)).found).toMatchObject({ attached: 'running' });
    // Whoever may not ask EC2 follows the record.
    const denied = () => ({ assertInstanceExists: () => Promise.reject(new Problem('INSTANCE_DESCRIBE', 'Denied.')) });
    const { found } = await findDuplicateRun({ ...pipe.context, at: denied as never }, runKey);
    expect(found).toMatchObject({ attached: 'running' });
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [instance] }));
    const { record, age } = (await readRecord(store, keys, id))!;
    expect(isKnownActive({ record, age })).toBe(true);
    expect(await findDuplicateRun(pipe.context, runKey)).toMatchObject({ found: null, interrupted: { id } });
    // Without recovery, another run starts.
    const fresh = { ...record, metadata: { ...record.metadata, recovery: 'none' as const } };
    await putRecord(store, keys, { ...fresh, heartbeat: record.heartbeat + 1 });
    expect(await findDuplicateRun(pipe.context, runKey)).toMatchObject({ found: null, known: id });
  });

  it.each([
    ['no JSON', 'x'],
    ['no run', '{"v":1}'],
    ['a name that leads elsewhere', '{"v":1,"run":"../../other"}'],
    ['a run that is not there', '{"v":1,"run":"20260101-000000-model-aaaaaa"}'],
  ])('starts if its key object holds %s', async (_what, text) => {
    await pipe.context.store.put(pipe.context.keys.key('k'), Buffer.from(text));
    expect(await findDuplicateRun(pipe.context, 'k')).toEqual({ found: null, known: null });
  });

  it('finds its run if a killed client indexed a later run that never started', async () => {
    const { store, keys } = pipe.context;
    const first = await pipe.launch();
    await first.settled;
    await pipe.follow(first.run, { first: first.log });
    await announceRun({ store, keys }, first.run.runKey, '20990101-000000-model-aaaaaa');
    await announceRun({ store, keys }, first.run.runKey, '20990101-000000-model-bbbbbb');
    expect((await findDuplicateRun(pipe.context, first.run.runKey)).found?.record.id).toBe(first.run.id);
    expect((await latestRunForKey({ store, keys }, first.run.runKey)).run).toBe('20990101-000000-model-bbbbbb');
  });

  it('does not use the run of a caller whose results a policy does not allow, not even on the instance', async () => {
    const first = await pipe.launch();
    await first.settled;
    const { run } = await pipe.follow(first.run, { first: first.log });
    const policy = join(at.directory, 'callers.json');
    const other = { ...pipe.context, caller: async () => 'arn:aws:iam::000000000000:user/main' };
    const foundUnder = async (context: typeof pipe.context, callers?: string[]) => {
      writeFileSync(policy, JSON.stringify({ callers }));
      process.env.NX_EC2_POLICY = policy;
      try {
        const { found, known } = await findDuplicateRun(context, run.runKey);
        return found?.record.id ?? `refused ${known}`;
      } finally {
        delete process.env.NX_EC2_POLICY;
      }
    };
    expect(await foundUnder(other)).toBe(run.id);
    expect(await foundUnder(other, [run.caller])).toBe(run.id);
    expect(await foundUnder(other, ['arn:aws:iam::*:role/ci-*'])).toBe(`refused ${run.id}`);
    expect(await foundUnder(pipe.context, [])).toBe(run.id);
  });

  it("finds its run although another record can't be read", async () => {
    const id = '20260101-000000-model-aaaaaa';
    await indexRunKey(pipe.context, 'k', id);
    await putRecord(pipe.context.store, pipe.context.keys, { id } as never);
    expect((await findDuplicateRun(pipe.context, 'k')).found).toBeNull();
  });

  it('finds no run by an invalid run id', async () => {
    for (const name of ['../../x', 'latest', '20261124'])
      await expect(resolveRun(pipe.context, name)).rejects.toMatchObject({
        code: 'RUN_ID',
        message: expect.stringContaining(`${name} is not a run id.\nWrite "last" for your latest run.`),
      });
    await expect(resolveRun(pipe.context, undefined)).rejects.toThrow('has no run of yours in this workspace');
  });
});
