import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { putUnreadable, UNREADABLE, type Unreadable } from '../../local-aws/unreadable.fixture';
import { until } from '../../system/until.fixture';
import { startPipeline } from '../pipeline.fixture';
import { readRecord, type RunRecord } from '../record/record';
import { FleetPipeline, steps } from './fleet.fixture';

/** Another training may write to the run's prefix with its role. */
describe('a run with a fleet whose record is replaced by one that S3 does not let be read', () => {
  let at: Fixture;
  let pipe: FleetPipeline;
  beforeAll(async () => void (at = await startPipeline({ instances: [] })));
  afterAll(() => at.close());
  beforeEach(() => void (pipe = new FleetPipeline(at).createRunContext()));
  afterEach(() => pipe.close());

  const recordOf = async (run: string): Promise<RunRecord | null> =>
    (await readRecord(pipe.runs.store, pipe.runs.keys, run).catch(() => null))?.record ?? null;
  const keyOfRecord = (run: string) => `${pipe.runs.keys.run(run)}record.json`;
  const spoil = (run: string, why: Unreadable) => putUnreadable(at, keyOfRecord(run), why);
  const gone = () => until(() => Object.values(at.aws.left()).every((each) => each.length === 0));

  it('is saved by the instance that has it, which replaces each of them', async () => {
    const end = join(pipe.memory, 'end');
    pipe.write(
      'model/train.py',
      `import os, time\nwhile not os.path.exists(${JSON.stringify(end)}):\n    time.sleep(0.1)\n` +
        'os.makedirs("artifacts", exist_ok=True)\nopen("artifacts/result", "w").write("result")\nprint("the end", flush=True)\n',
    );
    const { run } = await pipe.launchFleet();
    await until(async () => (await recordOf(run.id))?.state === 'running');
    for (const why of UNREADABLE) {
      await spoil(run.id, why);
      expect(await recordOf(run.id)).toBeNull();
      await until(() => recordOf(run.id));
    }
    writeFileSync(end, '');
    const { run: record, log } = await pipe.ended(run);
    expect(record).toMatchObject({ outcome: 'succeeded', attempt: 1, artifacts: { state: 'saved', files: 1 } });
    expect(log).toContain('the end');
    await gone();
  });

  it.each(['archived', 'foreign key'] as const)(
    'is not started anew by the next instance, which keeps its checkpoints (%s)',
    async (why) => {
      pipe.write('model/train.py', steps(1));
      const { run } = await pipe.launchFleet();
      const saved = await until(async () => {
        const record = await recordOf(run.id);
        return record?.checkpoints.length === 2 ? record : null;
      });
      const { store, keys } = pipe.runs;
      const checkpoint = () => store.get(`${keys.run(run.id)}checkpoint/1.json`, 1 << 20);
      const before = await checkpoint();
      at.aws.interrupt(saved.instance, { noticeMs: 6_000 });
      await until(async () => (await recordOf(run.id))?.state === 'ended');
      const genuine = (await store.get(keyOfRecord(run.id), 1 << 20))!;
      await spoil(run.id, why);
      at.aws.calls.clear();
      // The instance lists the record after S3 has refused to return it.
      await until(() =>
        at.aws.calls
          .all()
          .some(({ action, instance }) => action === 's3:ListBucket' && instance && instance !== saved.instance),
      );
      await store.put(keyOfRecord(run.id), genuine);
      const { run: record, log } = await pipe.ended(run);
      expect(record).toMatchObject({ outcome: 'succeeded', attempt: 2, restoredFrom: { run: run.id, n: 2 } });
      expect(log.split('\n').filter((line) => line.startsWith('step '))).toHaveLength(8);
      expect(await checkpoint()).toEqual(before);
      await gone();
    },
  );
});
