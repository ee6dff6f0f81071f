import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { until } from '../../system/until.fixture';
import { collectArtifacts } from '../artifacts/collect';
import { findDuplicateRun } from '../find/find-run';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import { LEASE_MS, waitForLeaseExpiry } from '../record/lease';
import { readRecord, type RunRecord } from '../record/record';
import { oneStatus } from '../status/status';
import { followWithRecovery } from './follow-with-recovery';

/** Saves a checkpoint, and a result. */
const TRAINING = `
import os
at = os.environ["NX_EC2_CHECKPOINT_DIR"]
print("attempt", os.environ["NX_EC2_ATTEMPT"], "from", sorted(os.listdir(at)), flush=True)
open(os.path.join(at, "step-1"), "w").write("1")
open(os.path.join(at, "step-1.complete"), "w").close()
open("artifacts/result", "w").write("made")
`;

describe('a run whose instance is terminated after the training has succeeded', () => {
  let at: Fixture;
  let pipe: Pipeline;
  beforeAll(async () => void (at = await startPipeline()));
  afterAll(() => at.close());
  beforeEach(() => {
    pipe = new Pipeline(at, 'store');
    pipe.write('model/train.py', TRAINING);
  });
  afterEach(() => {
    at.aws.faults.clear();
    pipe.close();
  });

  const terminate = (id: string) => at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));

  /** What S3 does not take of the instance, at each step of the saving. */
  const STEPS = [
    ['a checkpoint', '/checkpoint/1.json'],
    ['the contents of the files', '/part/'],
    ['the list of the artifacts', '/artifacts.json'],
  ];

  /** Starts a run on a spot instance, and terminates that while it saves. */
  async function startAndLose(path: string) {
    const instance = await pipe.openSpot();
    at.aws.faults.add({
      service: 's3',
      link: 'instance',
      path,
      times: 1_000_000,
      error: { code: 'SlowDown', status: 503 },
    });
    const launched = await pipe.launch();
    const { store, keys } = pipe.context;
    const { id } = launched.run;
    const lose = async () => {
      await until(async () => (await readRecord(store, keys, id))?.record.outcome === 'succeeded');
      await terminate(instance);
      at.aws.faults.clear();
      pipe.age(id, LEASE_MS);
    };
    return { id, instance, launched, lose };
  }

  it.each(STEPS)('while S3 lacks %s, is resumed by the client that follows it', async (_what, path) => {
    const { instance, launched, lose } = await startAndLose(path);
    const lost = lose();
    const gone: RunRecord[] = [];
    const ended = await followWithRecovery(pipe.context, launched, {
      signal: new AbortController().signal,
      recovery: {
        continueRun: async (before, next) => {
          gone.push(before);
          await pipe.openSpot();
          await waitForLeaseExpiry(pipe.context, before.id);
          return pipe.launch({}, next);
        },
      },
    });
    await lost;
    expect(gone).toMatchObject([{ instance, outcome: 'lost', failure: { code: 'INSTANCE_GONE' } }]);
    expect(ended).toMatchObject({ outcome: 'succeeded', state: 'ended', attempt: 2, artifacts: { state: 'saved' } });
    await collectArtifacts(pipe.context, ended);
    expect(readFileSync(join(pipe.workspace, 'model/artifacts/result'), 'utf8')).toBe('made');
  });

  it('is lost for everybody who looks at it, and is no result of the training', async () => {
    const { id, lose, launched } = await startAndLose('/artifacts.json');
    await lose();
    const { run } = await pipe.follow(launched.run);
    expect(run).toMatchObject({ outcome: 'lost', failure: { code: 'INSTANCE_GONE' } });
    expect(run.failure!.message).toContain('its training succeeded, but its instance ended before');
    await expect(collectArtifacts(pipe.context, { ...run, outcome: 'succeeded', state: 'saving' })).rejects.toThrow(
      expect.objectContaining({ code: 'COLLECT_FAILED' }),
    );
    const { signal } = new AbortController();
    expect(await oneStatus(pipe.context, id, signal)).toMatchObject({ state: 'ended', outcome: 'lost' });
    const { found, interrupted } = await findDuplicateRun(pipe.context, run.runKey);
    expect([found, interrupted?.id]).toEqual([null, id]);
  });
});
