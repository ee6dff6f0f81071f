import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CancelCommandCommand, GetCommandInvocationCommand } from '@aws-sdk/client-ssm';
import { Aws } from '../aws/clients';
import { startFixture, type Fixture } from '../local-aws/local-aws.fixture';
import { StoreKeys } from '../store/keys';
import { Store } from '../store/store';
import type { Access, Check } from './plan';
import { Remote } from './remote';
import { REPEAT } from './repeat';
import { finishCommand } from './finish-command';
import { followCommand, type Invocation } from './follow-command';
import { sleep } from '../system/sleep';
import { sendCommand } from './send-command';

const environment = { ...process.env };
afterAll(() => {
  process.env = environment;
});

describe('a confidential plan', () => {
  let at: Fixture;
  let aws: Aws;
  beforeAll(async () => {
    at = await startFixture();
    Object.assign(process.env, at.aws.environment);
    aws = new Aws({ region: 'eu-west-1' });
  });
  afterAll(async () => {
    aws.close();
    await at.close();
  });

  it('is only encrypted in the store, is not in the command, and is deleted after the command', async () => {
    const written: [string, Buffer][] = [];
    class Watched extends Store {
      override put(...of: Parameters<Store['put']>) {
        written.push([of[0], of[1]]);
        return super.put(...of);
      }
    }
    const store = new Watched(aws, { bucket: 'bucket' });
    const remote = new Remote({
      aws,
      store,
      keys: new StoreKeys('', 'model'),
      instance: at.aws.named.get('box')!.id,
      assertInstanceExists: async () => undefined,
    });
    const secret = randomBytes(15).toString('hex');
    const asked = remote.send(
      { op: 'cancel', run: `20260101-000000-model-${secret}`, gracePeriod: 1 },
      { comment: 'test', confidential: true },
    );
    // The instance has read it: there is no such run.
    await expect(asked).rejects.toMatchObject({
      remoteCode: 'NO_RUN',
      detail: { run: expect.stringContaining(secret) },
    });
    const [[key, plan]] = written.filter(([name]) => name.includes('/plan/'));
    expect(plan.subarray(0, 4).toString()).toBe('NXS1');
    expect(at.aws.commands.some(({ script }) => script.includes(secret))).toBe(false);
    expect(await store.get(key, 1024)).toBe(null);
  });
});

describe('an instance that runs as many commands as it can', () => {
  it('is sent the command again, although nothing reports the refusal', async () => {
    const at = await startFixture();
    Object.assign(process.env, at.aws.environment);
    const aws = new Aws({ region: 'eu-west-1' });
    try {
      const box = at.aws.named.get('box')!.id;
      const free = join(at.aws.instances.disk(box), 'free');
      const wait = { comment: 'wait', executionTimeout: 60 };
      for (let sent = 0; sent < 10; sent++)
        await sendCommand(aws, [box], `while [ ! -e '${free}' ]; do sleep 0.05; done`, wait);
      const remote = new Remote({
        aws,
        store: new Store(aws, { bucket: 'bucket' }),
        keys: new StoreKeys('', 'model'),
        instance: box,
        assertInstanceExists: async () => undefined,
      });
      const asked = remote.send(
        { op: 'cancel', run: '20260101-000000-model-aaaaaa', gracePeriod: 1 },
        { comment: 'test' },
      );
      asked.catch(() => undefined);
      const refused = () => at.aws.commands.filter((each) => each.refused);
      const end = Date.now() + 20_000;
      for (let seen = 0; seen < 2 && Date.now() < end; await sleep(20)) {
        seen = refused().length;
        // It is overdue at once, not after 30 s.
        for (const each of refused()) each.deliveryTimeout = 0;
      }
      writeFileSync(free, '');
      // It got there: there is no such run.
      await expect(asked).rejects.toMatchObject({ remoteCode: 'NO_RUN' });
      expect(at.aws.commands.filter(({ comment, started }) => comment === 'test' && started)).toHaveLength(1);
      expect(refused().map(({ details }) => details)).toEqual(Array(refused().length).fill('Delivery Timed Out'));
      expect(refused().length).toBeGreaterThanOrEqual(2);
    } finally {
      aws.close();
      await at.close();
    }
  });
});

describe('a command', () => {
  const options = {
    comment: 'test',
    executionTimeout: 60,
    assertInstanceExists: async () => undefined,
    repeat: REPEAT.sync,
    answered: () => true,
  };
  // The agent runs nothing of a script that names a parameter which does not exist: Failed, −1, no output.
  const dropped = 'echo {{ssm:nothing}}';
  let at: Awaited<ReturnType<typeof startFixture>>;
  let aws: Aws;
  beforeAll(async () => {
    at = await startFixture();
    Object.assign(process.env, at.aws.environment);
    aws = new Aws({ region: 'eu-west-1' });
  });
  afterAll(async () => {
    aws.close();
    await at.close();
  });
  const first = async (script: string) => {
    const box = at.aws.named.get('box')!.id;
    return { box, id: (await sendCommand(aws, [box], script, options)).get(box)! };
  };

  it('is sent again if it never started, with no reason given', async () => {
    const { box, id } = await first(dropped);
    expect(await finishCommand(aws, box, id, 'echo ran', options)).toMatchObject({
      status: 'Success',
      stdout: 'ran\n',
    });
  });

  it('is given up after two more attempts', async () => {
    const { box, id } = await first(dropped);
    const before = at.aws.commands.length;
    expect(await finishCommand(aws, box, id, dropped, options)).toMatchObject({ status: 'Failed', responseCode: -1 });
    expect(at.aws.commands.length - before).toBe(2);
  });

  it('is not sent again if it started and failed', async () => {
    const { box, id } = await first('exit 3');
    const before = at.aws.commands.length;
    const unread = { ...options, answered: () => false };
    expect(await finishCommand(aws, box, id, 'exit 3', unread)).toMatchObject({ status: 'Failed', responseCode: 3 });
    expect(at.aws.commands.length).toBe(before);
  });

  it('is not sent again if it must not be', async () => {
    const { box, id } = await first(dropped);
    const repeat = { ...REPEAT.sync, unstarted: false };
    expect(await finishCommand(aws, box, id, 'echo ran', { ...options, repeat })).toMatchObject({ responseCode: -1 });
  });

  it('is sent again, a limited number of times, if it only reads and its reply is lost', async () => {
    const reads = { ...options, repeat: REPEAT.poll, answered: ({ stdout }: Invocation) => stdout === 'reply\n' };
    const { box, id } = await first('exit 3');
    expect(await finishCommand(aws, box, id, 'echo reply', reads)).toMatchObject({ stdout: 'reply\n' });
    const before = at.aws.commands.length;
    expect(await finishCommand(aws, box, (await first('exit 3')).id, 'exit 3', reads)).toMatchObject({
      responseCode: 3,
    });
    expect(at.aws.commands.length - before).toBe(3);
  });

  it('is not sent again if it was cancelled or killed for its time', async () => {
    const reads = { ...options, repeat: REPEAT.poll, answered: () => false };
    const { box, id } = await first('sleep 60');
    while ((await look(box, id)).Status !== 'InProgress') await sleep(20);
    await at.ssm.send(new CancelCommandCommand({ CommandId: id }));
    expect(await finishCommand(aws, box, id, 'echo ran', reads)).toMatchObject({ status: 'Cancelled' });
    const killed = (await first('exit 137')).id;
    expect(await finishCommand(aws, box, killed, 'echo ran', reads)).toMatchObject({ status: 'ExecutionTimedOut' });
  });

  const look = (InstanceId: string, CommandId: string) =>
    at.ssm.send(new GetCommandInvocationCommand({ CommandId, InstanceId }));

  it('is given up, with its id in the message, if Systems Manager never reports its end', async () => {
    // Over the gateway the agent drops a reply of this size.
    const { box, id } = await first("head -c 23000 /dev/zero | tr '\\0' '<'");
    const brief = { ...options, deliveryTimeout: 0, executionTimeout: 0.3 };
    await expect(followCommand(aws, box, id, { ...brief, overdue: 200 })).rejects.toMatchObject({
      code: 'COMMAND_OVERDUE',
      message: expect.stringMatching(`^Command ${id} on ${box} is still InProgress after .*, past its time limit of`),
    });
  });

  it('is waited for until its time limit', async () => {
    const { box, id } = await first('sleep 1.2; echo late');
    const limits = { ...options, deliveryTimeout: 0.5, executionTimeout: 0.2 };
    expect(await followCommand(aws, box, id, { ...limits, overdue: 20_000 })).toMatchObject({ stdout: 'late\n' });
  });

  it('is accepted if it ended while this machine slept past the time limit', async () => {
    const { box, id } = await first('true');
    while ((await look(box, id)).Status !== 'Success') await sleep(20);
    // Each look at the clock is an hour after the one before: the first answer comes long after the limit.
    let hours = 0;
    const clock = jest.spyOn(performance, 'now').mockImplementation(() => 3_600_000 * hours++);
    try {
      const limits = { ...options, executionTimeout: 5 };
      await expect(followCommand(aws, box, id, { ...limits, overdue: 0 })).resolves.toMatchObject({
        status: 'Success',
      });
    } finally {
      clock.mockRestore();
    }
  });
});

describe('the table of operations that may be repeated', () => {
  it('has each operation of the runtime', () => {
    const list =
      'import sys; sys.path.insert(0, sys.argv[1]); from runtime.main import OPERATIONS; print(" ".join(OPERATIONS))';
    const operations = execFileSync('python3', ['-B', '-c', list, join(__dirname, '..')], { encoding: 'utf8' });
    expect(Object.keys(REPEAT).sort()).toEqual(operations.trim().split(' ').sort());
  });

  it('allows a repetition without a reply only for operations that change nothing or are idempotent', () => {
    const repeated = Object.entries(REPEAT).filter(([, { noReply: noReply }]) => noReply);
    expect(repeated.map(([operation]) => operation).sort()).toEqual([
      'activity',
      'cancel',
      'doctor',
      'poll',
      'ready',
      'renew',
    ]);
  });
});

describe('the doctor on the instance', () => {
  it('writes with a presigned form whose checksum S3 checks, and finds the role by the metadata service', async () => {
    const at = await startFixture();
    Object.assign(process.env, at.aws.environment);
    const aws = new Aws({ region: 'eu-west-1' });
    try {
      const store = new Store(aws, { bucket: 'bucket' });
      const box = at.aws.named.get('box')!.id;
      const remote = new Remote({
        aws,
        store,
        keys: new StoreKeys('', 'model'),
        instance: box,
        assertInstanceExists: async () => undefined,
      });
      await store.put('probe', Buffer.from('x'));
      const probe = {
        get: await store.presignGet('probe'),
        sha256: createHash('sha256').update('x').digest('hex'),
        post: await store.presignPost('out/'),
        objectKey: 'out/written',
      };
      const access: Access = {
        access: 'role',
        bucket: 'bucket',
        region: 'eu-west-1',
        endpoint: at.aws.url,
        pathStyle: true,
        owner: null,
        kms: null,
        prefix: 'v2/projects/model/run/doctor/',
        post: null,
        expires: null,
      };
      const secret = { parameter: '/nx-ec2-callers/bucket/secret', endpoint: at.aws.url };
      const check = async (name: string) => {
        const operation = { op: 'doctor', probe, store: access, secret, environment: null } as const;
        const { checks } = await remote.send<{ checks: Check[] }>(operation, { comment: 'test' });
        return checks.find((each) => each.name === name);
      };
      expect(await check('write to S3')).toMatchObject({ ok: true });
      expect((await store.get('out/written', 1024))?.toString()).toBe('probe');
      expect(await check('instance role')).toMatchObject({ ok: true, detail: 'local-instance' });
      at.aws.role(box).name = null;
      expect(await check('instance role')).toMatchObject({ ok: null, detail: expect.stringContaining('no role') });
      expect(await check("the store's secret is kept from the role")).toMatchObject({
        ok: true,
        detail: expect.stringContaining('no role'),
      });
    } finally {
      aws.close();
      await at.close();
    }
  });
});
