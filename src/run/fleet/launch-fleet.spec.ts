import { readRecord, type RunRecord } from '../record';
import { startPipeline } from '../pipeline.fixture';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { FleetPipeline, STEPS } from './fleet.fixture';

const NOTHING = { instances: [], volumes: [], spotRequests: [], fleets: [], launchTemplates: [] };

describe('a run with a fleet', () => {
  let at: Fixture;
  let pipe: FleetPipeline;
  beforeAll(async () => void (at = await startPipeline({ instances: [] })));
  afterAll(() => at.close());
  beforeEach(() => {
    pipe = new FleetPipeline(at).openRuns();
    pipe.write('model/train.py', STEPS);
  });
  afterEach(() => {
    pipe.close();
    at.aws.faults.clear();
    at.aws.capacity.clear();
  });

  const until = async (holds: () => Promise<boolean> | boolean, seconds = 100) => {
    const deadline = Date.now() + seconds * 1000;
    while (!(await holds())) {
      expect(Date.now()).toBeLessThan(deadline);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  const recordOf = async (run: string): Promise<RunRecord | null> =>
    (await readRecord(pipe.runs.store, pipe.runs.keys, run))?.record ?? null;
  const gone = () => until(() => Object.values(at.aws.left()).every((each) => each.length === 0));

  it('ends by itself, with nobody there, whatever is taken from it', async () => {
    const { run } = await pipe.launchFleet();
    expect(run.attempt).toBe(1);
    const seen = new Set<string>();
    for (const attempt of [1, 2, 3]) {
      await until(async () => {
        const record = await recordOf(run.id);
        return record?.attempt === attempt && record.checkpoints.some((each) => each.attempt === attempt);
      });
      const { instance } = (await recordOf(run.id))!;
      seen.add(instance);
      at.aws.interrupt(instance, { noticeMs: 6_000 });
    }
    const { run: record, log } = await pipe.ended(run);
    expect(record).toMatchObject({ state: 'ended', outcome: 'succeeded', attempt: 4 });
    expect(seen.size).toBe(3);
    let state = 1;
    for (let step = 1; step <= 8; step++) state = (state * 31) % 1000003;
    expect(log).toContain(`step 8 ${state}\n`);
    await gone();
    expect(at.aws.left()).toEqual(NOTHING);
  }, 200_000);
});
