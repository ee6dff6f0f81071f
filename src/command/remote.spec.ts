import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Aws } from '../aws/clients';
import { startFixture, type Fixture } from '../local-aws/local-aws.fixture';
import { StoreKeys } from '../store/keys';
import { Store } from '../store/store';
import type { Access, Check } from './plan';
import { Remote } from './remote';
import { finishCommand, pause, sendCommand } from './run-command';

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

  it('is in the store only sealed, in the command not at all, and is gone after it', async () => {
    const written: [string, Buffer][] = [];
    class Watched extends Store {
      override put(...of: Parameters<Store['put']>) {
        written.push([of[0], of[1]]);
        return super.put(...of);
      }
    }
    const store = new Watched(aws, { bucket: 'bucket' });
    const remote = new Remote(
      aws,
      store,
      new StoreKeys('', 'model'),
      at.aws.named.get('box')!.id,
      {},
      async () => undefined,
    );
    const secret = randomBytes(15).toString('hex');
    const asked = remote.send(
      { op: 'cancel', run: `20260101-000000-model-${secret}`, grace: 1 },
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

describe('an instance that has all the commands that it takes', () => {
  it('is sent to again, once it has dropped one', async () => {
    const at = await startFixture();
    Object.assign(process.env, at.aws.environment);
    const aws = new Aws({ region: 'eu-west-1' });
    try {
      const box = at.aws.named.get('box')!.id;
      const free = join(at.aws.instances.disk(box), 'free');
      const wait = { comment: 'wait', executionTimeout: 60 };
      for (let sent = 0; sent < 10; sent++)
        await sendCommand(aws, [box], `while [ ! -e '${free}' ]; do sleep 0.05; done`, wait);
      const remote = new Remote(
        aws,
        new Store(aws, { bucket: 'bucket' }),
        new StoreKeys('', 'model'),
        box,
        {},
        async () => undefined,
      );
      const asked = remote.send({ op: 'cancel', run: '20260101-000000-model-aaaaaa', grace: 1 }, { comment: 'test' });
      asked.catch(() => undefined);
      const dropped = () => at.aws.commands.filter(({ stderr }) => stderr === 'ProcessorBufferFull').length;
      const end = Date.now() + 20_000;
      while (dropped() < 2 && Date.now() < end) await pause(20);
      writeFileSync(free, '');
      // It got there: there is no such run.
      await expect(asked).rejects.toMatchObject({ remoteCode: 'NO_RUN' });
      expect(at.aws.commands.filter(({ comment, started }) => comment === 'test' && started)).toHaveLength(1);
      expect(dropped()).toBeGreaterThanOrEqual(2);
    } finally {
      aws.close();
      await at.close();
    }
  });
});

describe('a command that never started, with no reason given', () => {
  const options = { comment: 'test', executionTimeout: 60, stillThere: async () => undefined };
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

  it('is sent again', async () => {
    const { box, id } = await first(dropped);
    expect(await finishCommand(aws, box, id, 'echo ran', options)).toMatchObject({
      status: 'Success',
      stdout: 'ran\n',
    });
  });

  it('is given up after two more tries', async () => {
    const { box, id } = await first(dropped);
    const before = at.aws.commands.length;
    expect(await finishCommand(aws, box, id, dropped, options)).toMatchObject({ status: 'Failed', responseCode: -1 });
    expect(at.aws.commands.length - before).toBe(2);
  });

  it('is not sent again if it started and failed', async () => {
    const { box, id } = await first('exit 3');
    const before = at.aws.commands.length;
    expect(await finishCommand(aws, box, id, 'exit 3', options)).toMatchObject({ status: 'Failed', responseCode: 3 });
    expect(at.aws.commands.length).toBe(before);
  });
});

describe('the doctor on the instance', () => {
  it('writes by a form whose checksum S3 checks, and finds the role by the metadata service', async () => {
    const at = await startFixture();
    Object.assign(process.env, at.aws.environment);
    const aws = new Aws({ region: 'eu-west-1' });
    try {
      const store = new Store(aws, { bucket: 'bucket' });
      const box = at.aws.named.get('box')!.id;
      const remote = new Remote(aws, store, new StoreKeys('', 'model'), box, {}, async () => undefined);
      await store.put('probe', Buffer.from('x'));
      const probe = {
        get: await store.presignGet('probe'),
        sha256: createHash('sha256').update('x').digest('hex'),
        post: await store.presignPost('out/'),
        key: 'out/written',
      };
      const access: Access = {
        ...{ access: 'role', bucket: 'bucket', region: 'eu-west-1', endpoint: at.aws.url, pathStyle: true },
        ...{ owner: null, kms: null, prefix: 'v1/model/run/doctor/', post: null, expires: null },
      };
      const check = async (name: string) => {
        const operation = { op: 'doctor', probe, store: access } as const;
        const { checks } = await remote.send<{ checks: Check[] }>(operation, { comment: 'test' });
        return checks.find((each) => each.name === name);
      };
      expect(await check('write to S3')).toMatchObject({ ok: true });
      expect((await store.get('out/written', 1024))?.toString()).toBe('probe');
      expect(await check('instance role')).toMatchObject({ ok: true, detail: 'local-instance' });
      at.aws.role(box).name = null;
      expect(await check('instance role')).toMatchObject({ ok: null, detail: expect.stringContaining('no role') });
    } finally {
      aws.close();
      await at.close();
    }
  });
});
