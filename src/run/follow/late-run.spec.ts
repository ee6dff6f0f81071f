import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { Pipeline, startPipeline } from '../pipeline.fixture';

// The instance itself is asked never: what is seen of its end, EC2 has said.
jest.mock('../record/liveness', () => ({
  ...jest.requireActual<object>('../record/liveness'),
  HEARTBEAT_TIMEOUT_MS: 3_600_000,
}));

describe('a run without a heartbeat for 15 s', () => {
  let at: Fixture;
  let pipe: Pipeline;
  beforeAll(async () => void (at = await startPipeline()));
  afterAll(() => at.close());
  beforeEach(() => void (pipe = new Pipeline(at, 'store')));
  afterEach(() => pipe.close());

  it('is lost if EC2 says that its instance is gone', async () => {
    pipe.write('model/train.py', 'import time\nprint("begun", flush=True)\ntime.sleep(600)\n');
    const instance = await pipe.openSpot();
    const { run, settled } = await pipe.launch();
    await settled;
    const followed = pipe.follow(run);
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [instance] }));
    pipe.age(run.id, 15_000);
    const { run: ended } = await followed;
    expect(ended).toMatchObject({ outcome: 'lost', failure: { code: 'INSTANCE_GONE' } });
  });
});
