import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { startPipeline } from '../../run/pipeline.fixture';
import { ensureReady } from './ensure-ready';
import type { EnsuredInstance } from './ensure-instance';
import { Caller, CALLER, clear, launchSpecOf } from './ensure-instance.fixture';
import { until } from '../../system/until.fixture';

let project = 0;

describe('an instance that is waited for', () => {
  let at: Fixture;
  let caller: Caller;
  beforeAll(async () => void (at = await startPipeline({ instances: [] })));
  afterAll(() => at.close());
  beforeEach(() => void (caller = new Caller({ workspace: 'w', project: `ready ${++project}`, caller: CALLER })));
  afterEach(async () => {
    at.aws.instances.agentDelay = 0;
    caller.aws.close();
    await clear(at);
  });

  const up = (wait: number, more: object = {}, signal?: AbortSignal) =>
    ensureReady(caller.options(launchSpecOf(more), { signal }), wait).then(([instance]) => instance);

  it('is found again by the next command', async () => {
    const { id, how } = await up(20_000);
    expect(how).toBe('launched');
    expect(await up(20_000)).toMatchObject({ id, how: 'found' });
  });

  it('is ready only after its owner’s user data has succeeded; a failure is reported', async () => {
    await up(20_000, { userData: '#!/bin/sh\nexit 3\n' });
    expect(caller.told).toMatch(/warning: The user data of i-\w+ failed/);
  });

  it('is named in the error if its first boot does not end, and is not terminated', async () => {
    const slow = up(1_500, { userData: '#!/bin/sh\nsleep 30\n' });
    await expect(slow).rejects.toMatchObject({ code: 'BOOT_SLOW' });
    expect(at.aws.left().instances).toHaveLength(1);
  });

  it('is named in the error if Systems Manager does not reach it', async () => {
    at.aws.instances.agentDelay = Infinity;
    await expect(up(1_500)).rejects.toMatchObject({ code: 'SSM_OFFLINE' });
    expect(caller.told).toMatch(/waiting for its SSM agent/);
  });

  it('is replaced by another one if it is terminated while it starts', async () => {
    at.aws.instances.agentDelay = Infinity;
    const first = await up(500).catch(() => at.aws.left().instances[0]);
    const waiting = up(20_000);
    await until(() => /Using i-.*: running/.test(caller.told));
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [first as string] }));
    at.aws.instances.agentDelay = 0;
    const { id, how } = await waiting;
    expect({ how, same: id === first }).toEqual({ how: 'launched', same: false });
    expect(caller.told).toContain(`${first as string} ended while it was starting`);
  });

  it('is not replaced if it was launched by this command', async () => {
    at.aws.instances.agentDelay = Infinity;
    const waiting = up(20_000);
    await until(() => at.aws.left().instances.length === 1);
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: at.aws.left().instances }));
    await expect(waiting).rejects.toMatchObject({ code: 'INSTANCE_NOT_RUNNING' });
    expect(at.aws.left().instances).toEqual([]);
  });

  it('is replaced, three times at most, if AWS takes it away while it starts', async () => {
    at.aws.instances.agentDelay = Infinity;
    const failed = up(60_000, { spot: true }).catch((error: Error) => error);
    for (const n of [1, 2, 3, 4]) {
      const launched = () => [...caller.told.matchAll(/Launched (i-\w+)/g)].map(([, id]) => id);
      await until(() => launched().length === n, { what: () => caller.told });
      at.aws.interrupt(launched()[n - 1], { noticeMs: 0 });
    }
    expect(await failed).toMatchObject({ code: 'INSTANCE_NOT_RUNNING' });
    expect(caller.told.match(/was taken away by AWS, a spot instance, while it was starting/g)).toHaveLength(3);
    expect(at.aws.left().instances).toEqual([]);
  });

  describe('with others', () => {
    const upAll = (wait: number, more: object = {}, onUp?: (instances: EnsuredInstance[]) => void) =>
      ensureReady(caller.options(launchSpecOf(more), { count: 3 }), wait, onUp);
    const end = (...InstanceIds: string[]) => at.ec2.send(new TerminateInstancesCommand({ InstanceIds }));

    it('is ready when all are', async () => {
      const made = await upAll(30_000);
      expect(made.map(({ how }) => how)).toEqual(['launched', 'launched', 'launched']);
      for (const { id } of made) expect(caller.told).toContain(`${id} is ready (`);
      expect(caller.said.filter((line) => / of 3 instances\)\.$/.test(line)).at(-1)).toContain('(3 of 3 instances)');
    });

    it('is not waited for any longer if one of the launched ones ends, and all are named to the caller', async () => {
      at.aws.instances.agentDelay = Infinity;
      let ups: EnsuredInstance[] = [];
      const waiting = upAll(60_000, {}, (instances) => void (ups = instances));
      await until(() => at.aws.left().instances.length === 3 && ups.length === 3);
      await end(ups[1].id);
      await expect(waiting).rejects.toMatchObject({
        code: 'INSTANCE_NOT_RUNNING',
        message: expect.stringContaining(ups[1].id),
      });
    });

    it('is replaced by another one beside them if it was found, and terminated while it starts', async () => {
      at.aws.instances.agentDelay = Infinity;
      await upAll(500).catch(() => undefined);
      const [first, ...others] = [...at.aws.left().instances];
      const waiting = upAll(30_000);
      await until(() => caller.said.filter((line) => /^Using i-.*: running/.test(line)).length === 3);
      await end(first);
      at.aws.instances.agentDelay = 0;
      const made = await waiting;
      expect(
        made
          .filter(({ how }) => how === 'found')
          .map(({ id }) => id)
          .sort(),
      ).toEqual(others.sort());
      expect(made.filter(({ how }) => how === 'launched')).toHaveLength(1);
      expect(at.aws.left().instances.sort()).toEqual(made.map(({ id }) => id).sort());
    });
  });
});
