import { DescribeFleetsCommand } from '@aws-sdk/client-ec2';
import { TAG } from '../../instance/describe/ownership';
import { readRecord } from '../record/record';
import { startPipeline } from '../pipeline.fixture';
import type { Store } from '../../store/store';
import type { StoreKeys } from '../../store/keys';
import { NOTHING_LEFT, type Fixture } from '../../local-aws/local-aws.fixture';
import { takeDownProject } from '../stop/take-down-project';
import { resolveRun } from '../find/find-run';
import { cancelUntold, cancelWithFleet } from './cancel-fleet';
import { waitForConcurrentStart } from './find-unstarted';
import { waitForFirstAttempt } from './wait-first-attempt';
import { waitForFleetDeletion } from './wait-fleet-gone';
import { cancelUnverified } from '../stop/cancel-unverified';
import { Problem } from '../../report/problem';
import { allGone, FleetPipeline, removeAll, steps } from './fleet.fixture';
import { until } from '../../system/until.fixture';

describe('a run with a fleet', () => {
  let at: Fixture;
  let pipe: FleetPipeline;
  beforeAll(async () => void (at = await startPipeline({ instances: [] })));
  afterAll(() => at.close());
  beforeEach(() => {
    pipe = new FleetPipeline(at).createRunContext();
    pipe.write('model/train.py', steps());
  });
  afterEach(async () => {
    // What a test that fails has left is not the next one's.
    await removeAll(at);
    pipe.close();
  });

  it('ends without a client, after any number of interruptions', async () => {
    pipe.write('model/train.py', steps(3));
    const { run } = await pipe.launchFleet();
    expect(run.attempt).toBe(1);
    const seen = new Set<string>();
    for (const attempt of [1, 2, 3]) {
      await until(async () => {
        const record = await pipe.recordOf(run.id);
        return record?.attempt === attempt && record.checkpoints.some((each) => each.attempt === attempt);
      });
      const { instance } = (await pipe.recordOf(run.id))!;
      seen.add(instance);
      at.aws.interrupt(instance, { noticeMs: 6_000 });
    }
    const { run: record, log } = await pipe.ended(run);
    if (process.env.NX_EC2_MEASURE)
      console.log(
        record.attempts.slice(1).map(({ startedAt }, n) => ({ gap: startedAt! - record.attempts[n].endedAt! })),
      );
    expect(record).toMatchObject({ state: 'ended', outcome: 'succeeded', attempt: 4 });
    expect(seen.size).toBe(3);
    // As it would have, had nothing come between: each step once, from what the one before has saved.
    let state = 1;
    const wanted = Array.from({ length: 8 }, (_, at) => `step ${at + 1} ${(state = (state * 31) % 1000003)}`);
    expect(log.split('\n').filter((line) => line.startsWith('step '))).toEqual(wanted);
    expect(record.artifacts).toMatchObject({ state: 'saved', files: 1 });
    await allGone(at);
    expect(at.aws.left()).toEqual(NOTHING_LEFT);
  });

  it("counts its time by AWS's clock, whatever this machine's says", async () => {
    const behind = 3 * 86_400_000;
    jest.spyOn(pipe.runs.aws, 'now').mockImplementation(async () => Date.now() + behind);
    at.aws.capacity.add({ code: 'InsufficientInstanceCapacity', times: 99 });
    const interrupt = new AbortController();
    let run = '';
    const onLaunched = (launched: string) => {
      run = launched;
      interrupt.abort();
    };
    await expect(pipe.launchFleet({ signal: interrupt.signal, onLaunched })).rejects.toBeDefined();
    expect(pipe.said.join('\n')).toMatch(/is deleted in (24h 00m|1d 00h|23h 59m) at the latest/);
    const { Fleets } = await at.ec2.send(new DescribeFleetsCommand({}));
    const { ValidUntil, Tags } = Fleets!.find((each) => each.Tags!.some(({ Value }) => Value === run))!;
    const deadline = Number(Tags!.find(({ Key }) => Key === TAG.deadline)!.Value);
    // The longest lifetime is a day, and EC2 ends the fleet ten minutes later.
    expect(Math.abs(deadline - Date.now() - behind - 86_400_000)).toBeLessThan(120_000);
    expect(Math.abs(ValidUntil!.getTime() - deadline - 600_000)).toBeLessThan(2_000);
  });

  it('has the fleet that EC2 lists if all answers to its request are lost', async () => {
    at.aws.faults.add({ service: 'ec2', action: 'CreateFleet', cut: 'after', times: 99 });
    const { run } = await pipe.launchFleet();
    at.aws.faults.clear();
    expect(at.aws.left().fleets).toHaveLength(1);
    expect((await pipe.ended(run)).run).toMatchObject({ outcome: 'succeeded' });
    await allGone(at);
  });

  it('has one fleet if its client is killed between the template and the fleet, and started again', async () => {
    at.aws.faults.add({ service: 'ec2', action: 'CreateFleet', cut: 'before', times: 9 });
    // A killed client cleans nothing up.
    at.aws.faults.add({
      service: 'ec2',
      action: 'DeleteLaunchTemplate',
      error: { code: 'UnauthorizedOperation', status: 403 },
    });
    await expect(pipe.launchFleet()).rejects.toThrow(/EC2 does not say whether it created the fleet[^]*instances list/);
    expect(at.aws.left()).toMatchObject({ fleets: [], launchTemplates: [expect.any(String)] });
    at.aws.faults.clear();
    pipe.createRunContext();
    const [one, other] = [await pipe.launchFleet(), await pipe.launchFleet()];
    expect(other.run.id).toBe(one.run.id);
    expect(at.aws.left()).toMatchObject({ fleets: [expect.any(String)], launchTemplates: [expect.any(String)] });
    const { run: record } = await pipe.ended(one.run);
    expect(record).toMatchObject({ outcome: 'succeeded', attempt: 1 });
    await allGone(at);
  });

  it('has one fleet if two clients start it at the same moment', async () => {
    at.aws.calls.clear();
    at.aws.faults.add({ service: 'ec2', action: 'CreateLaunchTemplate', delay: 2_000, times: 1 });
    const [one, other] = await Promise.all([pipe.launchFleet(), pipe.launchFleet()]);
    expect(other.run.id).toBe(one.run.id);
    expect([one.attached, other.attached].sort()).toEqual([false, 'running']);
    expect(at.aws.calls.all().filter(({ action }) => action === 'ec2:CreateLaunchTemplate')).toHaveLength(1);
    expect(pipe.said.filter((line) => /was started a moment ago/.test(line))).toHaveLength(1);
    await pipe.ended(one.run);
    await allGone(at);
  });

  it('is refused, and leaves no resource, if the role may not delete the fleet', async () => {
    const denied = watchLaunches((id) => at.aws.role(id).deny.push('ec2:DeleteFleets'));
    await expect(pipe.launchFleet()).rejects.toMatchObject({
      code: 'RECOVERY_REFUSED',
      message: expect.stringMatching(/ec2:DeleteFleets.*UnauthorizedOperation/s),
    });
    denied();
    await allGone(at);
  });

  it('ends at its deadline, with what it has saved', async () => {
    pipe.close();
    pipe = new FleetPipeline(at, { maxLifetime: '10s' }).createRunContext();
    pipe.write('model/train.py', steps(9));
    const { run } = await pipe.launchFleet();
    const { run: record } = await pipe.ended(run);
    // On its first instance the two are one.
    const reason = expect.stringMatching(/^(deadline|lifetime)$/);
    expect(record).toMatchObject({ outcome: 'interrupted', stop: { reason }, attempt: 1 });
    expect(record.checkpoints.at(-1)).toMatchObject({ unit: 'step-2' });
    await allGone(at);
  });

  it('is deleted if it finds no capacity in time', async () => {
    at.aws.capacity.add({ market: 'spot' });
    await expect(pipe.launchFleet({ wait: 2_000 })).rejects.toThrow(
      /did not start it within 2.0 s.*\n.*InsufficientInstanceCapacity/s,
    );
    await allGone(at);
    // The same command does not wait for the failed start.
    at.aws.capacity.clear();
    const { run } = await pipe.launchFleet();
    expect(pipe.said.join('\n')).not.toMatch(/was started a moment ago/);
    await pipe.ended(run);
    await allGone(at);
  });

  it("is waited for, and can be cancelled, if its record can't be verified", async () => {
    at.aws.capacity.add({ market: 'spot' });
    const { store, keys } = pipe.runs;
    const forge = (run: string) => store.put(`${keys.run(run)}record.json`, Buffer.from('{"v":3}'));
    let forged: Promise<unknown> | undefined;
    const onLaunched = (run: string) => void (forged = forge(run));
    await expect(pipe.launchFleet({ wait: 3_000, onLaunched })).rejects.toMatchObject({ code: 'FLEET_WAIT' });
    await forged;
    await allGone(at);
    const controller = new AbortController();
    const made = new Promise<string>((resolve) => {
      pipe.launchFleet({ signal: controller.signal, onLaunched: resolve }).catch(() => undefined);
    });
    const run = await made;
    await forge(run);
    const error = await resolveRun(pipe.runs, run).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'RECORD_UNVERIFIED' });
    expect(await cancelUntold(pipe.runs, run, false, error)).toBe(true);
    controller.abort();
    await allGone(at);
  });

  it('is kept, and can be cancelled, if its record is overwritten faster than it is read', async () => {
    pipe.write('model/train.py', 'import time\nprint("going", flush=True)\ntime.sleep(600)\n');
    const { run } = await pipe.launchFleet();
    await until(async () => (await pipe.recordOf(run.id))?.state === 'running');
    const { store, keys } = pipe.runs;
    let writes = true;
    const rewriting = (async () => {
      for (let n = 0; writes; n++) await store.put(`${keys.run(run.id)}record.json`, Buffer.from(`{"v":3,"n":${n}}`));
    })();
    const read = () => resolveRun(pipe.runs, run.id).catch((reason: unknown) => reason);
    try {
      await until(async () => (await read()) instanceof Problem);
      const [fleet] = at.aws.left().fleets;
      const { signal } = new AbortController();
      await expect(waitForFirstAttempt(pipe.runs, { run: run.id, fleets: [fleet] }, 0, signal)).rejects.toMatchObject({
        code: 'RECORD_UNVERIFIED',
        message: expect.stringMatching(new RegExp(`${run.id} is active on ${run.instance}, but can't be followed`)),
      });
      expect(at.aws.left()).toMatchObject({ fleets: [fleet], instances: [run.instance] });
      const error = await read();
      expect(error).toMatchObject({ code: 'RECORD_UNVERIFIED' });
      expect(await cancelUntold(pipe.runs, run.id, false, error)).toBe(false);
      expect(await cancelUnverified(pipe.runs, '20260101-000000-model-abcdef', false, signal)).toBeNull();
      const cancelled = await cancelUnverified(pipe.runs, run.id, false, signal);
      expect(cancelled).toMatchObject({ run: { id: run.id, outcome: 'cancelled' }, already: false });
      await allGone(at);
    } finally {
      writes = false;
      await rewriting;
    }
  });

  it('is kept, and can be cancelled, if its record is deleted again and again', async () => {
    pipe.write('model/train.py', 'import time\nprint("going", flush=True)\ntime.sleep(600)\n');
    const { run } = await pipe.launchFleet();
    await until(async () => (await pipe.recordOf(run.id))?.state === 'running');
    const { store, keys } = pipe.runs;
    let deletes = true;
    const deleting = (async () => {
      while (deletes) await store.delete([`${keys.run(run.id)}record.json`]);
    })();
    // As S3 answers while the record is deleted between each two of the instance's writes.
    const get = store.getWithETag.bind(store);
    const absent = jest
      .spyOn(store, 'getWithETag')
      .mockImplementation(async (key, ...rest) => (key.endsWith('record.json') ? null : get(key, ...rest)));
    try {
      const [fleet] = at.aws.left().fleets;
      const { signal } = new AbortController();
      await expect(waitForFirstAttempt(pipe.runs, { run: run.id, fleets: [fleet] }, 0, signal)).rejects.toMatchObject({
        code: 'RECORD_UNVERIFIED',
        message: expect.stringMatching(
          new RegExp(`${run.id} is active on ${run.instance}, but can't be followed. Its record is not in the store`),
        ),
      });
      const owner = await pipe.runs.owner();
      await expect(takeDownProject(pipe.runs, owner, { stop: false, force: false })).rejects.toMatchObject({
        code: 'RUN_ACTIVE',
        message: expect.stringContaining(`${run.instance} reports active runs: ${run.id}`),
      });
      const error = await resolveRun(pipe.runs, run.id).catch((reason: unknown) => reason);
      expect(error).toMatchObject({ code: 'NO_RUN' });
      expect(await cancelUntold(pipe.runs, run.id, false, error)).toBe(false);
      expect(at.aws.left()).toMatchObject({ fleets: [fleet], instances: [run.instance] });
      const cancelled = await cancelUnverified(pipe.runs, run.id, false, signal);
      expect(cancelled).toMatchObject({ run: { id: run.id, outcome: 'cancelled' }, already: false });
      await allGone(at);
    } finally {
      absent.mockRestore();
      deletes = false;
      await deleting;
    }
  });

  it.each([
    [
      'a record that nobody has signed',
      async (store: Store, keys: StoreKeys, run: string, _key: string) => {
        await store.put(`${keys.run(run)}record.json`, Buffer.from('{"v":2,"mac":"00","record":{}}'));
      },
    ],
    [
      'a key object that is too large',
      async (store: Store, keys: StoreKeys, _run: string, key: string) => {
        await store.put(keys.key(key), Buffer.alloc(70_000, 32));
      },
    ],
    [
      'the name of a run that is not there',
      async (store: Store, keys: StoreKeys, _run: string, key: string) => {
        const named = '20290101-000000-model-abcdef';
        await store.put(keys.key(key), Buffer.from(JSON.stringify({ v: 1, run: named })));
        await store.put(`${keys.run(named)}record.json`, Buffer.from('junk'));
      },
    ],
  ])('starts at most one more run if another program has written %s', async (_, forge) => {
    pipe.write('model/train.py', 'print("done")\n');
    const { run } = await pipe.launchFleet();
    await pipe.ended(run);
    await allGone(at);
    const { store, keys } = pipe.runs;
    await forge(store, keys, run.id, run.runKey);
    const again = await pipe.launchFleet();
    expect((await pipe.ended(again.run)).run).toMatchObject({ outcome: 'succeeded' });
    await allGone(at);
  });

  it.each([
    ['is not taken for its result', false],
    ['is not taken for its result when its record comes later', true],
  ])('of another training, which a forged object names as the run of this one, %s', async (_, hidden) => {
    pipe.write('model/train.py', 'raise SystemExit(3)\n');
    const failed = await pipe.launchFleet();
    expect((await pipe.ended(failed.run)).run).toMatchObject({ outcome: 'failed' });
    await allGone(at);
    pipe.write('model/train.py', steps(1));
    const { run: active } = await pipe.launchFleet();
    const { store, keys } = pipe.runs;
    await store.put(keys.key(failed.run.runKey), Buffer.from(JSON.stringify({ v: 1, run: active.id })));
    pipe.write('model/train.py', 'raise SystemExit(3)\n');
    if (hidden) {
      // Until the launch has decided to wait for that run. An object in the store would not do: the run's instance
      // replaces it every 10 s.
      const get = store.getWithETag.bind(store);
      const junk = jest
        .spyOn(store, 'getWithETag')
        .mockImplementation(async (name, ...rest) =>
          name === `${keys.run(active.id)}record.json`
            ? { bytes: Buffer.from('junk'), etag: '"junk"', modified: Date.now(), answered: Date.now() }
            : get(name, ...rest),
        );
      await expect(pipe.launchFleet({ onLaunched: () => junk.mockRestore() })).rejects.toMatchObject({
        code: 'STORE_CHANGED',
        message: expect.stringContaining(`names ${active.id}, which is another training`),
      });
    }
    const again = await pipe.launchFleet();
    expect(again).toMatchObject({ attached: false, run: { runKey: failed.run.runKey } });
    expect((await pipe.ended(again.run)).run).toMatchObject({ outcome: 'failed', exitCode: 3 });
    expect((await pipe.recordOf(active.id))!.state).toBe('running');
  });

  it('is not waited for without end if another program keeps writing that it has just been started', async () => {
    const { store, keys } = pipe.runs;
    const named = '20290101-000000-model-abcdef';
    await store.put(keys.key('k'), Buffer.from(JSON.stringify({ v: 1, run: named })));
    const since = Date.now();
    const last = await waitForConcurrentStart(pipe.runs, 'k', new AbortController().signal, 1_500);
    expect(last).toMatchObject({ run: named, record: null });
    expect(last.age).toBeLessThan(20_000);
    expect(Date.now() - since).toBeGreaterThanOrEqual(1_500);
    const swap = jest.spyOn(store, 'compareAndSwap').mockResolvedValue(null);
    await expect(pipe.launchFleet()).rejects.toMatchObject({ code: 'STORE_CHANGED' });
    expect(swap).toHaveBeenCalledTimes(5);
    swap.mockRestore();
    expect(at.aws.left()).toEqual(NOTHING_LEFT);
  });

  it('is not resumed if it is cancelled between two instances', async () => {
    pipe.write('model/train.py', steps(1));
    const { run } = await pipe.launchFleet();
    at.aws.capacity.add({ market: 'spot' });
    at.aws.interrupt(run.instance, { noticeMs: 3_000 });
    await until(() => at.aws.left().instances.length === 0);
    const down = (force: boolean) =>
      pipe.runs.owner().then((owner) => takeDownProject(pipe.runs, owner, { stop: false, force }));
    await expect(down(false)).rejects.toMatchObject({
      code: 'RUN_ACTIVE',
      message: expect.stringMatching(new RegExp(`${run.id} waits for an instance of its fleet`)),
    });
    const found = (await readRecord(pipe.runs.store, pipe.runs.keys, run.id))!;
    expect(await cancelWithFleet(pipe.runs, found, false)).toMatchObject({ outcome: 'cancelled' });
    await allGone(at);
  });

  it('keeps the instance of a failed run for debugging, and no fleet', async () => {
    pipe.close();
    pipe = new FleetPipeline(at, { onFinish: { failure: 'keep 5s' } }).createRunContext();
    pipe.write('model/train.py', 'raise SystemExit(3)\n');
    const { run } = await pipe.launchFleet();
    const { run: record } = await pipe.ended(run);
    expect(record).toMatchObject({ outcome: 'failed', exitCode: 3 });
    await waitForFleetDeletion(pipe.runs, record, pipe.launchSpec);
    expect(pipe.said.at(-1)).toMatch(/is kept for 5.0 s, and then terminates itself/);
    expect(await pipe.found(run.id)).toEqual({ fleets: [], template: false });
    expect(at.aws.left()).toMatchObject({ instances: [run.instance] });
    await allGone(at);
  });

  it('is deleted with its instance, which it would replace', async () => {
    pipe.write('model/train.py', steps(1));
    const { run } = await pipe.launchFleet();
    const owner = await pipe.runs.owner();
    await expect(takeDownProject(pipe.runs, owner, { stop: false, force: false })).rejects.toMatchObject({
      code: 'RUN_ACTIVE',
    });
    expect(await takeDownProject(pipe.runs, owner, { stop: false, force: true })).toEqual([run.instance]);
    await allGone(at);
    expect(at.aws.left()).toEqual(NOTHING_LEFT);
  });

  it('uses one image for all of its instances', async () => {
    pipe.close();
    pipe = new FleetPipeline(at, { type: ['m5.large', 'g5.xlarge'] }).createRunContext();
    pipe.write('model/train.py', steps());
    await expect(pipe.launchFleet()).rejects.toMatchObject({ code: 'FLEET_TYPES' });
    expect(at.aws.left()).toEqual(NOTHING_LEFT);
  });

  /** Does something to each instance as soon as it is there. @returns how that ends. */
  function watchLaunches(work: (id: string) => void): () => void {
    const watcher = ({ id }: { id: string }, event: string) => void (event === 'launched' && work(id));
    at.aws.instances.watchers.unshift(watcher);
    return () => void at.aws.instances.watchers.splice(at.aws.instances.watchers.indexOf(watcher), 1);
  }
});
