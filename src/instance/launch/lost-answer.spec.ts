import type { Fixture } from '../../local-aws/local-aws.fixture';
import { startPipeline } from '../../run/pipeline.fixture';
import { TAG } from '../describe/ownership';
import { ensureInstances } from './ensure-instance';
import { Caller, CALLER, clear, launchSpecOf } from './ensure-instance.fixture';

/** No process of an instance runs, and none is needed. */
const NEVER = 3_600_000;

describe('a launch whose answers are all lost', () => {
  let at: Fixture;
  let caller: Caller;
  let project = 0;
  beforeAll(async () => {
    at = await startPipeline({ instances: [], unseen: 300, boot: NEVER });
  });
  beforeEach(() => {
    caller = new Caller({ workspace: 'w', project: `lost${++project}`, caller: CALLER });
  });
  afterEach(async () => {
    caller.aws.close();
    await clear(at);
  });
  afterAll(() => at.close());

  const launch = (count: number) =>
    ensureInstances(caller.options(launchSpecOf({}), { count, timeouts: { trouble: 500, profile: 500, sure: 3_000 } }));
  const alive = () =>
    at.aws.instances
      .all()
      .filter(({ tags, state }) => tags[TAG.project] === caller.owner.project && state !== 'terminated');

  it.each([1, 3])('has what EC2 lists of it (%i)', async (count) => {
    at.aws.faults.add({ service: 'ec2', action: 'RunInstances', cut: 'after', times: 1_000 });
    const launched = await launch(count);
    expect(launched.map(({ id }) => id).sort()).toEqual(
      alive()
        .map(({ id }) => id)
        .sort(),
    );
    expect(launched).toHaveLength(count);
    expect(launched[0].how).toBe('launched');
  });

  it('says that something may have been launched where EC2 lists nothing, and the next launch is another', async () => {
    at.aws.faults.add({ service: 'ec2', action: 'RunInstances', cut: 'before', times: 1_000 });
    await expect(launch(1)).rejects.toMatchObject({
      code: 'LAUNCH',
      message: expect.stringMatching(
        /^EC2 does not say whether it launches t3\.micro .*\n.*may have been launched.*continues with what was launched\..*npx nx-ec2 instances list$/s,
      ),
    });
    expect(alive()).toEqual([]);
    at.aws.faults.clear();
    expect(await launch(1)).toHaveLength(1);
    expect(alive()).toHaveLength(1);
  });

  it('is not in doubt where EC2 has answered', async () => {
    at.aws.faults.add({
      service: 'ec2',
      action: 'RunInstances',
      times: 1_000,
      error: { code: 'RequestLimitExceeded', status: 503 },
    });
    await expect(launch(1)).rejects.toMatchObject({ message: expect.stringMatching(/^EC2 does not launch t3\.micro/) });
  });
});
