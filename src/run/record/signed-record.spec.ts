import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { DeleteParameterCommand, GetParameterCommand, PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { Aws } from '../../aws/clients';
import { ROLE } from '../../aws/permissions/role';
import { concrete } from '../../aws/permissions/statement';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import type { StoreKeys } from '../../store/keys';
import { secretParameter } from '../../store/store-secret';
import { Store } from '../../store/store';
import { StoreFixture } from '../../store/store.fixture';
import { collectArtifacts } from '../artifacts/collect';
import { Problem } from '../../report/problem';
import { readRunStates } from '../find/run-states';
import { findDuplicateRun } from '../find/find-run';
import { indexRunKey } from '../find/run-key-index';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import { latestRun, MAX_RECORD_BYTES, readRecord } from './record';
import { RecordWatch } from './record-poller';
import { putRecord, recordOf, RUN, signAs, signedBytes } from './saved-run.fixture';
import { signRecord } from './signed-record';
import { listStatus, tableOfRuns } from '../status/status';
import { listActiveRuns } from '../find/active-runs';

const UNVERIFIED = { code: 'RECORD_UNVERIFIED' };
const OTHER = '20260102-000000-model-abcdef';
const PARAMETER = secretParameter('bucket', 'team');

describe("a run's record", () => {
  let at: StoreFixture;
  let keys: StoreKeys;
  const environment = { ...process.env };
  beforeAll(async () => {
    at = await StoreFixture.start();
    keys = at.keys();
  });
  afterAll(async () => {
    await at.close();
    process.env = environment;
  });
  beforeEach(() => {
    at.empty();
    machine('here');
  });

  const put = (bytes: Buffer, run = RUN) => at.store.put(`${keys.run(run)}record.json`, bytes);
  const read = (store = at.store) => readRecord(store, keys, RUN);
  /** The MAC of one, with the record of another. */
  const withMacOf = (signed: Buffer, record: object) =>
    Buffer.from(`${signed.subarray(0, 89).toString()}${JSON.stringify(record)}}`);
  const machine = (name: string) => {
    process.env.NX_EC2_CACHE_DIRECTORY = join(at.local.directory, expect.getState().currentTestName!.slice(-20), name);
    return new Store(new Aws({}), { bucket: 'bucket' });
  };

  it('is refused with any of its fields changed, by somebody who has read it', async () => {
    const genuine = recordOf({ outcome: 'failed', exitCode: 1 });
    const signed = await signedBytes(at.store, keys, genuine);
    const sha256 = 'ab'.repeat(32);
    const changes: Partial<typeof genuine>[] = [
      { outcome: 'succeeded', exitCode: 0 },
      { exitCode: 0 },
      { state: 'running', outcome: null },
      { instance: 'i-0ffffffffffffffff' },
      { caller: 'arn:aws:iam::123456789012:user/eve' },
      { attempt: 2 },
      { heartbeat: 8 },
      { runKey: 'other' },
      { snapshot: sha256 },
      { artifacts: { state: 'saved', sha256, files: 1, bytes: 1, unsaved: 0, extra: null, error: null } },
      { checkpoints: [{ n: 1, unit: 'step', sha256, size: 1, files: 1, at: 1, attempt: 1 }] },
      { log: { size: 11, training: 5, truncated: false, hashes: null } },
      { restoredFrom: { run: OTHER, n: 1, unit: 'step' } },
      { directory: '/etc' },
    ];
    await put(signed);
    expect((await read())!.record).toEqual(genuine);
    for (const change of changes) {
      await put(withMacOf(signed, { ...genuine, ...change }));
      await expect(read()).rejects.toMatchObject(UNVERIFIED);
      await put(signRecord(randomBytes(32), RUN, Buffer.from(JSON.stringify({ ...genuine, ...change }))));
      await expect(read()).rejects.toMatchObject(UNVERIFIED);
      await put(Buffer.from(JSON.stringify({ ...genuine, ...change })));
      await expect(read()).rejects.toMatchObject(UNVERIFIED);
    }
  });

  it('is refused with any of its bytes changed, more or fewer', async () => {
    const signed = await signedBytes(at.store, keys, recordOf());
    await fc.assert(
      fc.asyncProperty(fc.nat(signed.length - 1), fc.integer({ min: 1, max: 255 }), async (where, flip) => {
        const changed = Buffer.from(signed);
        changed[where] ^= flip;
        for (const bytes of [changed, signed.subarray(0, where), Buffer.concat([signed, changed.subarray(0, 1)])]) {
          await put(bytes);
          await expect(read()).rejects.toMatchObject(UNVERIFIED);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('is refused under the name of another run, or project', async () => {
    await putRecord(at.store, keys, recordOf({ id: OTHER }));
    const other = (await at.store.get(`${keys.run(OTHER)}record.json`, MAX_RECORD_BYTES))!;
    await put(other);
    await expect(read()).rejects.toMatchObject(UNVERIFIED);
    // One who holds the other run's key, as everybody on its instance may.
    const { keys: signer } = await at.store.signingKeys.forStart({ keys, run: OTHER });
    await put(signAs(signer, RUN, recordOf()));
    await expect(read()).rejects.toMatchObject(UNVERIFIED);
    await put(await signedBytes(at.store, at.keys('other'), recordOf()));
    await expect(read()).rejects.toMatchObject(UNVERIFIED);
  });

  it('is refused if its instance, which has its key, names another training, caller or workspace in it', async () => {
    const { keys: signer } = await at.store.signingKeys.forStart({ keys, run: RUN });
    const own = recordOf();
    await put(signAs(signer, RUN, own));
    expect((await read())!.record).toEqual(own);
    const changes: Partial<typeof own>[] = [
      { runKey: 'ab'.repeat(32) },
      { caller: 'arn:aws:iam::123456789012:user/eve' },
      { snapshot: 'cd'.repeat(32) },
      { project: 'other' },
      { tree: 'another workspace' },
    ];
    for (const change of changes) {
      await put(signAs(signer, RUN, { ...own, ...change }, own));
      await expect(read()).rejects.toMatchObject(UNVERIFIED);
      expect(await latestRun(at.store, keys, (each) => !change.caller || each.caller === change.caller)).toBeNull();
    }
    // A time that it invents makes it no later one.
    await put(signAs(signer, RUN, { ...own, createdAt: Date.now() + 3600_000 }));
    await putRecord(at.store, keys, recordOf({ id: OTHER }));
    expect((await latestRun(at.store, keys, () => true))!.record.id).toBe(OTHER);
    // Nor does what a client has signed of another run help.
    const other = (await at.store.signingKeys.forStart({ keys, run: OTHER })).keys;
    const identity = other.identity({ ...own, runKey: 'ab'.repeat(32) }).toString('hex');
    for (const said of [identity, '', null, undefined]) {
      const record = { ...own, runKey: 'ab'.repeat(32), identity: said };
      await put(signRecord(signer.key, RUN, Buffer.from(JSON.stringify(record))));
      await expect(read()).rejects.toMatchObject(UNVERIFIED);
    }
  });

  it('is ignored by a search if it is not verified, keeps instances from being terminated, and is shown with the reason', async () => {
    const caller = 'arn:aws:iam::123456789012:user/ann';
    await putRecord(at.store, keys, recordOf());
    const instance = 'i-0ffffffffffffffff';
    const forged = recordOf({ id: OTHER, state: 'running', outcome: null, endedAt: null, instance });
    await put(Buffer.from(JSON.stringify(forged)), OTHER);
    expect((await latestRun(at.store, keys, (record) => record.caller === caller))!.record.id).toBe(RUN);
    const context = { store: at.store, keys, at: jest.fn() };
    await indexRunKey(context as never, 'k', OTHER);
    expect(await findDuplicateRun(context as never, 'k')).toEqual({ found: null, known: null });
    expect(context.at).not.toHaveBeenCalled();
    expect(await listActiveRuns(at.store, keys, new Set([instance]))).toEqual({
      runs: [],
      unverified: [{ id: OTHER, instance, why: 'it has no signature' }],
    });
    // More runs were made up than are listed.
    const many = new Problem('STORE_TOO_MANY', 'too many');
    const full = Object.create(at.store, { listDirectories: { value: () => Promise.reject(many) } }) as typeof at.store;
    const unknown = { runs: [], unverified: [] };
    expect(await listActiveRuns(full, keys, new Set([instance]))).toEqual(unknown);
    const listed = await listStatus(context as never, 20, new AbortController().signal);
    expect(listed.map(({ id, state }) => [id, state])).toEqual([
      [OTHER, 'unverified'],
      [RUN, 'ended'],
    ]);
    expect(tableOfRuns(listed, 'model')).toMatch(new RegExp(`${OTHER} is unverified: it has no signature`));
    const tags = { 'nx-ec2:store': 'bucket/team', 'nx-ec2:project': 'model', 'nx-ec2:run': OTHER };
    const here = { id: instance, state: 'running', since: Date.now(), tags, fleet: undefined };
    const states = await readRunStates(at.store, 'team', { instances: [here], fleets: [], templates: [] } as never);
    expect(states.on(instance)).toEqual([{ is: 'unreadable' }]);
  });

  it.each([
    ['an outcome that is none', { outcome: 'splendid' }],
    ['an instance that is none', { instance: 'i-1;reboot' }],
    ['a time that is none', { createdAt: 1e300 }],
  ])('with %s, is reported as unreadable for this run only', async (_what, change) => {
    await putRecord(at.store, keys, recordOf());
    await put(await signedBytes(at.store, keys, { ...recordOf({ id: OTHER }), ...(change as object) }), OTHER);
    const listed = await listStatus({ store: at.store, keys } as never, 20, new AbortController().signal);
    expect(listed.map(({ id, state }) => [id, state])).toEqual([
      [OTHER, 'unreadable'],
      [RUN, 'ended'],
    ]);
    expect(tableOfRuns(listed, 'model')).toContain(`${OTHER} is unreadable: The record `);
  });

  it('is not accepted if it is older than the one that this machine has seen', async () => {
    const [older, newer] = await Promise.all(
      [recordOf({ attempt: 1, heartbeat: 9 }), recordOf({ attempt: 2, heartbeat: 10 })].map((each) =>
        signedBytes(at.store, keys, each),
      ),
    );
    const follow = machine('follower');
    const watch = new RecordWatch(follow, keys, RUN, 0);
    await put(newer);
    expect((await watch.look())!.heartbeat).toBe(10);
    await put(older);
    await expect(watch.look()).rejects.toMatchObject({ ...UNVERIFIED, message: expect.stringMatching(/is older/) });
    await expect(read(follow)).rejects.toMatchObject(UNVERIFIED);
    await put(newer);
    expect((await watch.look())!.heartbeat).toBe(10);
    expect((await read(follow))!.record.heartbeat).toBe(10);
  });

  it('in an earlier version is accepted on a machine that sees the run for the first time, but gives no result', async () => {
    const gone = { state: 'running' as const, outcome: null, exitCode: null, endedAt: null };
    const [older, last] = [recordOf({ ...gone, runKey: 'k', heartbeat: 8 }), recordOf({ runKey: 'k', heartbeat: 9 })];
    await indexRunKey({ store: at.store, keys } as never, 'k', RUN);
    await put(await signedBytes(at.store, keys, last));
    const context = (store: Store) => ({ store, keys, at: jest.fn() }) as never;
    expect(await findDuplicateRun(context(at.store), 'k')).toMatchObject({ found: { attached: 'ended' } });
    await new RecordWatch(at.store, keys, RUN, 0).look();
    // The machine that has followed the success is not deceived; another one starts the training again, or waits for it.
    await put(await signedBytes(at.store, keys, older));
    await expect(read()).rejects.toMatchObject(UNVERIFIED);
    const { found } = await findDuplicateRun(context(machine('elsewhere')), 'k');
    expect(found?.attached).not.toBe('ended');
    expect((await read(machine('elsewhere')))!.record.outcome).toBeNull();
  });

  it('keeps its follower at the last verified version until it is written again', async () => {
    const watch = new RecordWatch(at.store, keys, RUN);
    const running = recordOf({ state: 'running', outcome: null, exitCode: null, endedAt: null });
    await put(await signedBytes(at.store, keys, running));
    expect((await watch.look())!.state).toBe('running');
    await put(Buffer.from(JSON.stringify(recordOf())));
    expect((await watch.look())!.state).toBe('running');
    expect(watch.changed).toBe(false);
    await put(Buffer.alloc(2 * 1024 * 1024));
    expect((await watch.look())!.state).toBe('running');
    await put(await signedBytes(at.store, keys, recordOf({ heartbeat: 8, outcome: 'failed', exitCode: 2 })));
    expect((await watch.look())!.outcome).toBe('failed');
  });

  it('is verified on another machine that reads the parameter, which asks for it once', async () => {
    await putRecord(machine('one'), keys, recordOf());
    at.local.aws.calls.clear();
    const asked = () => at.local.aws.calls.all().filter(({ action }) => action.startsWith('ssm:')).length;
    expect((await read(machine('two')))!.record.id).toBe(RUN);
    expect(asked()).toBe(1);
    expect((await read(machine('two')))!.record.id).toBe(RUN);
    expect(asked()).toBe(1);
    const kept = join(process.env.NX_EC2_CACHE_DIRECTORY!, 'store-secrets');
    for (const name of readdirSync(kept)) expect(statSync(join(kept, name)).mode & 0o777).toBe(0o600);
  });

  it('is signed with one secret by clients that start at the same moment', async () => {
    await at.local.ssm.send(new DeleteParameterCommand({ Name: PARAMETER }));
    const stores = Array.from({ length: 4 }, (_, n) => machine(`racer-${n}`));
    const made = await Promise.all(stores.map((store) => store.signingKeys.forStart({ keys, run: RUN })));
    expect(new Set(made.map(({ keys: signer }) => signer.key.toString('hex'))).size).toBe(1);
    expect(made.map(({ local }) => local)).toEqual([null, null, null, null]);
  });

  it('is verified if the parameter was created again since this machine has read it', async () => {
    const stale = machine('stale');
    await stale.signingKeys.forStart({ keys, run: RUN });
    const Value = randomBytes(32).toString('base64');
    const input = { Name: PARAMETER, Type: 'SecureString' as const, Value, Overwrite: true };
    await at.local.ssm.send(new PutParameterCommand(input));
    await putRecord(machine('fresh'), keys, recordOf());
    expect((await read(machine('stale')))!.record.id).toBe(RUN);
  });

  it.each(['GetParameter', 'PutParameter'])(
    'is verified only on the machine that started the run if %s is denied',
    async (action) => {
      await at.local.ssm.send(new DeleteParameterCommand({ Name: PARAMETER }));
      const error = { code: 'AccessDeniedException', status: 400 };
      at.local.aws.faults.add({ service: 'ssm', action, error, times: 9 });
      try {
        const own = machine(`own-${action}`);
        const { keys: signer, local } = await own.signingKeys.forStart({ keys, run: RUN });
        expect(local).toMatchObject({ code: 'STORE_SECRET', aws: { code: 'AccessDeniedException' } });
        await put(signAs(signer, RUN, recordOf()));
        expect((await read(machine(`own-${action}`)))!.record.id).toBe(RUN);
        // Its next attempt is signed with the same.
        expect((await machine(`own-${action}`).signingKeys.forStart({ keys, run: RUN })).keys.key).toEqual(signer.key);
        await expect(read(machine('elsewhere'))).rejects.toMatchObject({
          ...UNVERIFIED,
          message: expect.stringContaining(PARAMETER),
        });
      } finally {
        at.local.aws.faults.clear();
      }
      // A colleague's machine, which has made the parameter since.
      const colleague = machine('colleague');
      await colleague.signingKeys.forStart({ keys, run: OTHER });
      await expect(read(colleague)).rejects.toMatchObject(UNVERIFIED);
    },
  );

  it('is signed with a secret that no instance of aws-setup reads', async () => {
    await machine('reader').signingKeys.forStart({ keys, run: RUN });
    const credentials = at.local.instanceCredentials;
    const instance = new SSMClient({ ...at.local.clientOptions, credentials });
    const asked = instance.send(new GetParameterCommand({ Name: PARAMETER, WithDecryption: true }));
    await expect(asked).rejects.toMatchObject({ name: 'AccessDeniedException' });
    instance.destroy();
    // The statements that the template gives an instance's role.
    const role = JSON.stringify(ROLE.map((each) => concrete(each, { bucket: 'bucket' })));
    expect(role).toContain('ssm:GetParameter');
    expect(role).not.toMatch(/nx-ec2-callers|parameter\/\*|"ssm:\*"|PutParameter/);
  });

  it('is never signed with a secret that has not 32 bytes, wherever it is from', async () => {
    const input = { Name: PARAMETER, Type: 'SecureString' as const, Value: 'c2hvcnQ=', Overwrite: true };
    await at.local.ssm.send(new PutParameterCommand(input));
    const { local } = await machine('short').signingKeys.forStart({ keys, run: RUN });
    expect(local?.message).toMatch(/does not hold 32 bytes/);
    expect(
      (await at.local.ssm.send(new GetParameterCommand({ Name: PARAMETER, WithDecryption: true }))).Parameter?.Value,
    ).toBe('c2hvcnQ=');
    await at.local.ssm.send(new DeleteParameterCommand({ Name: PARAMETER }));
  });

  it('is not signed with another secret if AWS does not answer', async () => {
    at.local.aws.faults.add({
      service: 'ssm',
      action: 'GetParameter',
      error: { code: 'InternalServerError', status: 500 },
      times: 9,
    });
    try {
      const store = machine('unanswered');
      await expect(store.signingKeys.forStart({ keys, run: RUN })).rejects.toMatchObject({ code: 'STORE_SECRET' });
      expect(existsSync(join(process.env.NX_EC2_CACHE_DIRECTORY!, 'runs'))).toBe(false);
    } finally {
      at.local.aws.faults.clear();
    }
  });

  it('has a parameter for each prefix, below no path that instances read', () => {
    expect(secretParameter('b', '')).toBe('/nx-ec2-callers/b/secret');
    expect(secretParameter('b', 'team/a')).toBe('/nx-ec2-callers/b/team/a/secret');
    fc.assert(
      fc.property(fc.string({ maxLength: 2000 }), fc.string({ maxLength: 20 }), (one, other) => {
        const name = secretParameter('b', one);
        // https://docs.aws.amazon.com/systems-manager: letters, digits, . - _ and /, at most 15 levels, 1,011 characters with the ARN.
        expect(name).toMatch(/^(\/[A-Za-z0-9._-]+){3,15}$/);
        expect(name.length).toBeLessThan(700);
        if (one !== other) expect(secretParameter('b', other)).not.toBe(name);
      }),
    );
  });
});

describe('a program with the role of an instance that writes a run record', () => {
  let at: Fixture;
  let pipe: Pipeline;
  let role: S3Client;
  beforeAll(async () => {
    at = await startPipeline();
    const credentials = at.instanceCredentials;
    role = new S3Client({ ...at.clientOptions, credentials, forcePathStyle: true });
  });
  afterAll(async () => {
    role.destroy();
    await at.close();
  });
  beforeEach(async () => void (pipe = await new Pipeline(at, 'auto').open()));
  afterEach(() => pipe.close());

  const forge = async (run: string) => {
    const Key = `${pipe.context.keys.run(run)}record.json`;
    const there = JSON.parse((await pipe.context.store.get(Key, MAX_RECORD_BYTES))!.toString()) as { record: object };
    const forged = {
      ...there,
      record: { ...there.record, state: 'ended', outcome: 'succeeded', exitCode: 0, signal: null },
    };
    await role.send(new PutObjectCommand({ Bucket: 'bucket', Key, Body: JSON.stringify(forged) }));
  };

  it('changes no result while the run is active, because its instance overwrites the record', async () => {
    pipe.write('model/train.py', 'import time\ntime.sleep(4)\nraise SystemExit(3)\n');
    const { run } = await pipe.train();
    while (!(await readRecord(pipe.context.store, pipe.context.keys, run.id).catch(() => null)))
      await new Promise((resolve) => setTimeout(resolve, 50));
    await forge(run.id);
    const { run: ended } = await pipe.follow(run);
    expect([ended.outcome, ended.exitCode]).toEqual(['failed', 3]);
  });

  it('does not turn a failed run into a success, for those who follow it, name it, or start the same training', async () => {
    pipe.write('model/train.py', 'raise SystemExit(3)\n');
    const first = await pipe.launch();
    await first.settled;
    const { run } = await pipe.follow(first.run);
    expect([run.outcome, run.exitCode]).toEqual(['failed', 3]);
    await forge(run.id);
    // Somebody who has not seen how it ended.
    await pipe.forget();
    await expect(readRecord(pipe.context.store, pipe.context.keys, run.id)).rejects.toMatchObject(UNVERIFIED);
    await expect(pipe.follow(run)).rejects.toMatchObject(UNVERIFIED);
    const again = await pipe.launch();
    expect([again.attached, again.run.id === run.id]).toEqual([false, false]);
    expect((await pipe.follow(again.run)).run.exitCode).toBe(3);
  });

  it('reports which of its log and lists were changed, and downloads none of them', async () => {
    pipe.write('model/train.py', 'print("loss 0.5")\nopen("artifacts/model", "w").write("trained")\n');
    const { run } = await pipe.follow((await pipe.train()).run);
    const at = pipe.context.keys.run(run.id);
    const overwrite = async (name: string, change: (text: string) => string) => {
      const there = (await pipe.context.store.get(at + name, MAX_RECORD_BYTES))!.toString();
      await role.send(new PutObjectCommand({ Bucket: 'bucket', Key: at + name, Body: change(there) }));
      return () => role.send(new PutObjectCommand({ Bucket: 'bucket', Key: at + name, Body: there }));
    };
    const undo = await overwrite('log/0', (text) => text.replace('loss 0.5', 'loss 0.1'));
    const changed = { code: 'LOG_CHANGED', message: expect.stringContaining(`${at}log/0`) };
    await expect(collectArtifacts(pipe.context, run)).rejects.toMatchObject(changed);
    const { log } = await pipe.follow(run);
    expect(log.toString()).toContain('loss 0.1');
    expect(pipe.said.join('\n')).toMatch(/The log that was shown differs from the one .*: log\/0 of/);
    await undo();
    const put = await overwrite('artifacts.json', (text) => text.replace('artifacts/model', 'artifacts/other'));
    await expect(collectArtifacts(pipe.context, run)).rejects.toMatchObject({ code: 'LIST_MISMATCH' });
    await put();
    expect((await collectArtifacts(pipe.context, run)).artifacts.map(({ path }) => path)).toEqual(['artifacts/model']);
  });

  it('finds no key in the bucket', async () => {
    pipe.write('model/train.py', 'pass\n');
    // A plan that does not fit into the command lies in the bucket meanwhile, unsealed: its run has no variables.
    const args = Array.from({ length: 3000 }, (_, n) => `${n} ${randomBytes(16).toString('base64')}`);
    const seen: Buffer[] = [];
    const { store } = pipe.context;
    const before = store.put.bind(store);
    store.put = (key, body, options) => {
      seen.push(body);
      return before(key, body, options);
    };
    const { run } = await pipe.train({ args });
    const { key } = (await store.signingKeys.forStart({ keys: pipe.context.keys, run: run.id })).keys;
    expect(seen.some((body) => body.includes(run.id) && body.includes('"op":"train"'))).toBe(true);
    expect(seen.some((body) => body.includes(key.toString('base64')))).toBe(false);
    expect((await pipe.follow(run)).run.outcome).toBe('succeeded');
  });

  it("is told apart from a machine that can't read the secret, and the message explains that", async () => {
    rmSync(join(pipe.memory, 'store-secrets'), { recursive: true, force: true });
    at.aws.faults.add({
      service: 'ssm',
      action: 'GetParameter',
      error: { code: 'AccessDeniedException', status: 400 },
    });
    try {
      await pipe.open();
      pipe.write('model/train.py', 'pass\n');
      const { run } = await pipe.train();
      expect(pipe.said.join('\n')).toMatch(
        /Only this machine can verify the record of .*AccessDeniedException.*ssm:GetParameter/,
      );
      expect((await pipe.follow(run)).run.outcome).toBe('succeeded');
    } finally {
      at.aws.faults.clear();
    }
  });
});
