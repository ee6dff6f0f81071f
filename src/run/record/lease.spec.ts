import { StopInstancesCommand, TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import { describeInstance, isTerminated } from '../../instance/describe/describe-instances';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { until } from '../../system/until.fixture';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import { LEASE_MS, resumableRecord, waitForLeaseExpiry } from './lease';
import type { ReadRecord } from './record';

describe('a run whose end was not recorded', () => {
  let at: Fixture;
  let pipe: Pipeline;
  beforeAll(async () => void (at = await startPipeline({ transition: 3_000 })));
  afterAll(() => at.close());
  beforeEach(() => void (pipe = new Pipeline(at, 'store')));
  afterEach(() => {
    at.aws.faults.clear();
    pipe.close();
  });

  const state = async (id: string) => (await describeInstance(pipe.context.aws, id))?.state;
  /** A record of an attempt on an instance, as it was written this long ago. */
  const read = (instance: string, age = 0, attempt = 1, runState = 'running') =>
    ({ record: { instance, attempt, state: runState }, age }) as ReadRecord;
  const resumable = (record: ReadRecord) => resumableRecord(pipe.context, record);

  it('may be resumed within its lease only if EC2 says that its instance is terminated', async () => {
    const instance = await pipe.openSpot();
    expect(await resumable(read(instance))).toBeNull();
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [instance] }));
    expect(await state(instance)).toBe('shutting-down');
    expect(await resumable(read(instance))).toBeNull();
    await until(async () => (await state(instance)) === 'terminated');
    expect(await resumable(read(instance))).toMatchObject({ terminated: { instance, attempt: 1 } });
    expect(await resumable(read(instance, 0, 3))).toMatchObject({ terminated: { instance, attempt: 3 } });
    // Nothing is said where nothing has to be.
    for (const record of [read(instance, LEASE_MS), read(instance, 0, 1, 'ended')])
      expect(await resumable(record)).toBe(record);
  });

  it('keeps its lease while its instance is stopped, or EC2 does not know it or does not say', async () => {
    const instance = await pipe.openSpot();
    const unknown = 'i-0123456789abcdef0';
    expect(await state(unknown)).toBeUndefined();
    expect(await resumable(read(unknown))).toBeNull();
    expect(await resumable(read('not an id'))).toBeNull();
    const box = at.aws.named.get('box')!.id;
    await at.ec2.send(new StopInstancesCommand({ InstanceIds: [box] }));
    expect(await state(box)).toBe('stopping');
    expect(await resumable(read(box))).toBeNull();
    await until(async () => (await state(box)) === 'stopped');
    expect(await resumable(read(box))).toBeNull();
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [instance] }));
    await until(async () => (await state(instance)) === 'terminated');
    expect(await isTerminated(pipe.context.aws, instance)).toBe(true);
    at.aws.faults.add({
      service: 'ec2',
      action: 'DescribeInstances',
      times: 1_000,
      error: { code: 'UnauthorizedOperation', message: 'not you' },
    });
    expect(await resumable(read(instance))).toBeNull();
  });

  it('is waited for no longer than until its instance is terminated', async () => {
    pipe.write('model/train.py', 'import time; time.sleep(600)');
    const instance = await pipe.openSpot();
    const { run, settled } = await pipe.launch();
    await settled;
    const { context } = pipe;
    // An attempt that has begun needs no wait.
    expect(await waitForLeaseExpiry(context, run.id, undefined, 0, 1)).toMatchObject({ record: { attempt: 1 } });
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [instance] }));
    const before = (await waitForLeaseExpiry(context, run.id))!;
    expect(before.age).toBeLessThan(LEASE_MS);
    expect(before).toMatchObject({ record: { state: 'running' }, terminated: { instance, attempt: 1 } });
  });
});
