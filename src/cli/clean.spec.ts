import { StopInstancesCommand, TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import { newRunId } from '../run/record/run-id';
import { Store } from '../store/store';
import { mapConcurrent } from '../system/side-by-side';
import { clean, type CleanOptions } from './clean';
import { InventoryFixture, MINUTE, OTHER, printed } from './made.fixture';

const HOUR = 60 * MINUTE;
const spot = {
  InstanceMarketOptions: { MarketType: 'spot' as const },
};

/** An account as it is after some days; what is old was made three hours ago. */
describe('nx-ec2 instances clean', () => {
  let made: InventoryFixture;
  const ids: Record<string, string> = {};
  const late = () =>
    ['ended', 'late', 'going', 'missing', 'stops', 'fleet', 'ofFleet', 'template', 'loose', 'volume', 'request'].map(
      (name) => ids[name],
    );

  beforeAll(async () => {
    made = await InventoryFixture.start();
    const run = (project = 'model') => newRunId(project, new Date(Date.now() - 2.5 * HOUR));
    const [ended, going, young, kept, first, fleet, unsaved] = Array.from({ length: 7 }, () => run());
    const other = run('vision');
    const launch = async (name: string, tags: Record<string, string | undefined>, more = {}) =>
      void (ids[name] = await made.launch(made.tags(tags), more));
    await launch('ended', { run: ended, finish: 'terminate 0 1800' }, spot);
    await launch('late', { lifetime: '3600', project: '\x1b]0;owned\x07\x1b[2Jevil' });
    await launch('missing', { run: run(), finish: 'terminate 0 1800' });
    // The store tells of a run on the one that is past its lifetime, and the instance says nothing.
    await launch('going', { run: going, lifetime: '3600', finish: 'terminate 0 1800' });
    await launch('young', { run: young, finish: 'terminate 0 1800' });
    await launch('kept', { run: kept, finish: 'terminate - -' });
    await launch('unsaved', { run: unsaved, finish: 'terminate 0 1800' });
    await launch('others', { run: first, finish: 'terminate 0 0' });
    await launch('elsewhere', { run: run(), store: 'other/team', finish: 'terminate 0 0' });
    await launch('stops', { lifetime: '3600', finish: 'stop - -' });
    await launch('stopped', { lifetime: '3600' });
    await launch('theirs', { owner: OTHER, lifetime: '3600' });
    await launch('untagged', { managed: undefined, lifetime: '1', deadline: '1' });
    await launch('no', { managed: 'false', lifetime: '1', deadline: '1' });
    const disk = { DeviceName: '/dev/xvda', Ebs: { DeleteOnTermination: false } };
    await launch('gone', {}, { BlockDeviceMappings: [disk] });
    await made.at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [ids.gone] }));
    await made.at.ec2.send(new StopInstancesCommand({ InstanceIds: [ids.stopped] }));
    const tags = made.tags({ run: fleet, finish: 'terminate 0 0' });
    ids.template = await made.template('of-the-fleet', tags);
    ids.loose = await made.template('of-none', made.tags({}));
    ids.foreign = await made.template('foreign', made.tags({ managed: undefined }));
    ids.fleet = await made.fleet('of-the-fleet', tags);
    made.at.aws.capacity.add({ market: 'spot' });
    await made.template('of-the-waiting', tags);
    ids.waiting = await made.fleet('of-the-waiting', made.tags({ run: run(), finish: 'terminate 0 0' }));
    // And some seconds: AWS's clock is known to a second.
    await made.age(3 * HOUR + 5_000, (file, rows) => {
      if (file === 'volumes')
        ids.volume = (Object.values(rows) as { id: string; attachment?: object }[]).find(
          (each) => !each.attachment,
        )!.id;
      if (file !== 'spot-requests') return;
      ids.request = 'sir-0000abcd';
      const [any] = Object.values(rows);
      rows[ids.request] = { ...any, id: ids.request, state: 'open', instance: undefined, tags: made.tags({}) };
    });
    made.at.aws.capacity.add({ market: 'spot' });
    ids.ofFleet = made.at.aws.instances.all().find(({ fleet }) => fleet === ids.fleet)!.id;
    ids.new = await made.launch(made.tags({ run: run(), finish: 'terminate 0 0' }));
    for (const id of [ids.ended, ids.missing, ids.ofFleet, ids.unsaved]) made.watchdog(id);
    const before = { startedAt: 1, createdAt: 1 };
    const over = { ...before, state: 'ended' as const, endedAt: Date.now() - 2 * HOUR - 5_000 };
    await made.tell({ ...over, id: ended, instance: ids.ended });
    // It has found a moment ago that it can't save all that its run wrote.
    const artifacts = {
      state: 'saved' as const,
      sha256: null,
      files: 1,
      bytes: 1,
      unsaved: 1,
      extra: null,
      error: null,
    };
    await made.tell({ ...over, id: unsaved, instance: ids.unsaved, outcome: 'succeeded', exitCode: 0, artifacts });
    await made.tell({ ...over, id: kept, instance: ids.kept });
    await made.tell({ ...over, id: first, instance: ids.others });
    await made.tell({ ...over, id: fleet, instance: 'i-0123456789abcdef0' });
    const on = { ...before, state: 'running' as const, outcome: null, endedAt: null };
    await made.tell({ ...on, id: going, instance: ids.going });
    await made.tell({ ...on, id: young, instance: ids.young });
    await made.tell({ ...on, id: other, instance: ids.others, project: 'vision' });
  });
  afterAll(() => made.close());

  const run = (options: Partial<CleanOptions> = {}) =>
    printed((printer) => clean({ bucket: 'bucket', prefix: 'team', ...options }, printer), options.json);
  const there = () => Object.values(made.at.aws.left()).flat().sort();

  it('shows which resources have expired and why, and changes nothing', async () => {
    const before = there();
    const { out, error } = await run({ json: true });
    expect(error).toBeNull();
    const told = JSON.parse(out) as { expired: { id: string; why: string }[]; others: number; applied: boolean };
    expect(told.expired.map(({ id }) => id).sort()).toEqual(late().sort());
    expect(told).toMatchObject({ success: true, applied: false, others: 1 });
    const why = Object.fromEntries(told.expired.map((each) => [each.id, each.why]));
    expect(why[ids.ended]).toBe('its run ended 2h 00m ago');
    expect(why[ids.late]).toBe('2h 00m past its lifetime');
    expect(why[ids.missing]).toBe('no record of its run in the store 3h 00m after its launch');
    expect(why[ids.fleet]).toBe('its run ended 2h 00m ago');
    expect(why[ids.loose]).toBe('no fleet uses it, 3h 00m after it was created');
    expect(why[ids.volume]).toBe('no instance uses it, 3h 00m after it was created');
    expect(there()).toEqual(before);
  });

  it('prints a table that tags of others cannot break', async () => {
    const { out } = await run();
    expect(out).toMatch(new RegExp(`instance +${ids.late} +local +evil +2h 00m past its lifetime\n`));
    expect(out).not.toMatch(/\x1b|\x07/);
    expect(out).toMatch(/1 expired resource of other users left alone\. To include them: --all/);
    expect(out).toMatch(/Nothing was changed\. To clean up: --apply\n$/);
  });

  it('says which resources could not be ended and ends the rest; ends those of others only if told to', async () => {
    const before = there();
    made.at.aws.faults.add({
      service: 'ec2',
      action: 'DeleteVolume',
      error: { code: 'UnauthorizedOperation', message: 'not you', status: 403 },
    });
    const refused = await run({ apply: true });
    expect(refused.error).toMatchObject({
      code: 'CLEAN',
      message: expect.stringMatching(/^1 of 11 resources could not be cleaned up/),
    });
    expect(refused.out).toMatch(new RegExp(`volume ${ids.volume}\\.(.|\n)*UnauthorizedOperation: not you`));
    expect(refused.out).toMatch(new RegExp(`The instance ${ids.stops} was stopped\\.`));
    expect(refused.out).toMatch(new RegExp(`The instance ${ids.late} was terminated\\.`));
    const cancelled = made.at.aws.requests.filter(({ action }) => action === 'CancelSpotInstanceRequests');
    expect(cancelled).toHaveLength(3);
    const again = await run({ apply: true, all: true, json: true });
    expect(again.error).toBeNull();
    expect((JSON.parse(again.out) as { expired: object[] }).expired).toMatchObject([
      { id: ids.theirs, result: 'ended' },
      { id: ids.volume, result: 'ended' },
    ]);
    expect(made.at.aws.instances.get(ids.stops)!.state).toBe('stopped');
    const gone = new Set([...late().filter((id) => id !== ids.stops), ids.theirs]);
    for (const name of [
      'young',
      'kept',
      'others',
      'elsewhere',
      'stopped',
      'untagged',
      'no',
      'new',
      'foreign',
      'waiting',
    ])
      expect(there()).toContain(ids[name]);
    expect(before.filter((id) => gone.has(id) && there().includes(id))).toEqual([]);
    const { out } = await run({ all: true });
    expect(out).toBe('No resource in eu-west-1 has expired.\n');
  });
});

/** Whoever writes to the bucket can say of any run that it has ended, or remove what is said of it. */
describe('nx-ec2 instances clean, with forged records', () => {
  let made: InventoryFixture;
  const ids: Record<string, string> = {};
  const runs: Record<string, string> = {};
  let release: () => void;

  beforeAll(async () => {
    made = await InventoryFixture.start();
    for (const name of ['busy', 'removed', 'mute', 'idle', 'waiting', 'elsewhere'])
      runs[name] = newRunId('model', new Date(Date.now() - 2.5 * HOUR));
    for (const name of ['busy', 'removed', 'mute', 'idle'])
      ids[name] = await made.launch(made.tags({ run: runs[name], finish: 'terminate 0 0' }));
    // A record names it, and its tags do not name the record's run.
    ids.named = await made.launch(made.tags({}));
    ids.unmanaged = await made.launch(made.tags({ managed: undefined, run: runs.elsewhere, finish: 'terminate 0 0' }));
    await made.template('of-the-waiting', made.tags({ run: runs.waiting, finish: 'terminate 0 0' }));
    ids.waiting = await made.fleet('of-the-waiting', made.tags({ run: runs.waiting, finish: 'terminate 0 0' }));
    await made.age(3 * HOUR);
    for (const name of ['busy', 'removed', 'idle']) made.watchdog(ids[name]);
    const stops = [await made.runOn(ids.busy, runs.busy), await made.runOn(ids.removed, runs.removed)];
    release = () => stops.forEach((stop) => stop());
    const forged = { startedAt: 1, createdAt: 1, state: 'ended' as const, endedAt: Date.now() - 2 * HOUR };
    for (const name of ['busy', 'mute', 'idle', 'waiting']) {
      const instance = name === 'waiting' ? 'i-0123456789abcdef0' : ids[name];
      await made.tell({ ...forged, id: runs[name], instance });
    }
    await made.tell({ ...forged, id: runs.elsewhere, instance: ids.named });
  });

  afterAll(async () => {
    release();
    await made.close();
  });

  it('ends an instance that itself reports no active run, and no other', async () => {
    const { out, error } = await printed((printer) =>
      clean({ bucket: 'bucket', prefix: 'team', apply: true, all: true }, printer),
    );
    expect(error).toBeNull();
    expect(out).toMatch(new RegExp(`The instance ${ids.idle} was terminated\\.`));
    expect(out).toMatch(
      new RegExp(`Kept the instance ${ids.busy} .*: the store says ".*", but ${runs.busy} is active on it`),
    );
    expect(out).toMatch(
      new RegExp(
        `Kept the instance ${ids.removed} .*no record of its run in the store .*${runs.removed} is active on it`,
      ),
    );
    expect(out).toMatch(new RegExp(`Kept the instance ${ids.mute} .* its activity is unknown`));
    expect(out).toMatch(new RegExp(`Kept the fleet ${ids.waiting} `));
    const { instances, fleets } = made.at.aws.left();
    expect(fleets).toEqual([ids.waiting]);
    expect(instances).toEqual(expect.arrayContaining([ids.busy, ids.removed, ids.mute, ids.named, ids.unmanaged]));
    expect(instances).not.toContain(ids.idle);
  });

  it("ends an instance that is past its lifetime even if a run record can't be verified", async () => {
    const names = ['idle', 'mute', 'busy', 'silent'].map((name) => `${name} and late`);
    const expired = { lifetime: '3600', finish: 'terminate - -' };
    for (const name of names) ids[name] = await made.launch(made.tags(expired));
    for (const each of made.at.aws.instances.all())
      if (names.some((name) => ids[name] === each.id)) each.launched -= 3 * HOUR;
    made.watchdog(ids['idle and late']);
    made.watchdog(ids['busy and late']);
    const stop = await made.runOn(ids['busy and late'], newRunId('model', new Date()));
    const forged = { startedAt: 1, createdAt: 1, state: 'running' as const, outcome: null, endedAt: null };
    const forge = (name: string, age?: number) =>
      made.forge({ ...forged, id: newRunId('model', new Date()), instance: ids[name] }, age);
    for (const name of ['idle and late', 'mute and late', 'busy and late']) await forge(name);
    // An active run would have replaced it.
    await forge('silent and late', 2 * MINUTE);
    const { out, error } = await printed((printer) =>
      clean({ bucket: 'bucket', prefix: 'team', apply: true }, printer),
    );
    stop();
    expect(error).toBeNull();
    const late = '1h 59m|2h 00m';
    const kept = `Kept the instance ${ids['busy and late']}, (${late}) past its lifetime: \\S+ is active on it\\.\n`;
    expect(out).toMatch(new RegExp(kept));
    expect(out).toMatch(
      new RegExp(`The instance ${ids['mute and late']} is (${late}) past its lifetime, and its activity is unknown`),
    );
    const { instances } = made.at.aws.left();
    expect(instances).toContain(ids['busy and late']);
    for (const name of ['idle and late', 'mute and late', 'silent and late']) {
      expect(out).toMatch(new RegExp(`The instance ${ids[name]} was terminated\\.`));
      expect(instances).not.toContain(ids[name]);
    }
  });

  it('ends an instance that is past its lifetime even if somebody has put back an old record', async () => {
    for (const name of ['idle', 'busy', 'mute']) {
      ids[`${name}, replayed`] = await made.launch(made.tags({ lifetime: '3600', finish: 'terminate - -' }));
      made.at.aws.instances.get(ids[`${name}, replayed`])!.launched -= 3 * HOUR;
    }
    // Within its lifetime, a run that the store tells of keeps it, whatever the instance says.
    ids.young = await made.launch(made.tags({ finish: 'terminate - -' }));
    for (const name of ['idle, replayed', 'busy, replayed', 'young']) made.watchdog(ids[name]);
    const stop = await made.runOn(ids['busy, replayed'], newRunId('model', new Date()));
    // A machine that has not seen the end of the run takes what was written before it for the last.
    const running = { startedAt: 1, createdAt: 1, state: 'running' as const, outcome: null, endedAt: null };
    const names = ['idle, replayed', 'busy, replayed', 'mute, replayed', 'young'];
    for (const name of names) await made.tell({ ...running, id: newRunId('model', new Date()), instance: ids[name] });
    const { out, error } = await printed((printer) =>
      clean({ bucket: 'bucket', prefix: 'team', apply: true }, printer),
    );
    stop();
    expect(error).toBeNull();
    for (const name of ['idle, replayed', 'mute, replayed']) {
      expect(out).toMatch(new RegExp(`The instance ${ids[name]} was terminated\\.`));
      expect(made.at.aws.left().instances).not.toContain(ids[name]);
    }
    expect(out).toMatch(
      new RegExp(`Kept the instance ${ids['busy, replayed']}, .* past its lifetime: \\S+ is active on it`),
    );
    expect(made.at.aws.left().instances).toEqual(expect.arrayContaining([ids['busy, replayed'], ids.young]));
  });

  it('asks an instance that is past its lifetime for active runs, whose records may have been deleted', async () => {
    const run = newRunId('model', new Date());
    const tags = made.tags({ run, lifetime: '3600', finish: 'terminate 0 1800' });
    for (const name of ['busy, deleted', 'idle, deleted', 'mute, deleted']) {
      ids[name] = await made.launch(tags);
      made.at.aws.instances.get(ids[name])!.launched -= 3 * HOUR;
      if (!name.startsWith('mute')) made.watchdog(ids[name]);
    }
    const stop = await made.runOn(ids['busy, deleted'], run);
    const { out, error } = await printed((printer) =>
      clean({ bucket: 'bucket', prefix: 'team', apply: true }, printer),
    );
    stop();
    expect(error).toBeNull();
    expect(out).toMatch(
      new RegExp(`Kept the instance ${ids['busy, deleted']}, .* past its lifetime: ${run} is active`),
    );
    for (const name of ['idle, deleted', 'mute, deleted'])
      expect(out).toMatch(new RegExp(`The instance ${ids[name]} was terminated\\.`));
    expect(made.at.aws.instances.get(ids['busy, deleted'])!.state).toBe('running');
  });

  it('asks an instance that is past its lifetime for active runs, which forged records may hide', async () => {
    const at = (hours: number) => newRunId('model', new Date(Date.now() + hours * HOUR));
    const [first, hidden] = [at(-5), at(-2)];
    const tags = made.tags({ run: first, lifetime: '3600', finish: 'terminate 0 1800' });
    for (const name of ['busy, hidden', 'idle, hidden', 'mute, hidden']) {
      ids[name] = await made.launch(tags);
      made.at.aws.instances.get(ids[name])!.launched -= 6 * HOUR;
      if (!name.startsWith('mute')) made.watchdog(ids[name]);
    }
    const stop = await made.runOn(ids['busy, hidden'], hidden);
    const told = { startedAt: 1, createdAt: 1, instance: ids['busy, hidden'] };
    await made.tell({ ...told, id: first, state: 'ended', endedAt: Date.now() - 4 * HOUR });
    await made.tell({ ...told, id: hidden, state: 'running', outcome: null, endedAt: null });
    // One more than are looked at, under newer ids.
    const forged = Array.from({ length: 501 }, () => at(1));
    await mapConcurrent(forged, 16, (id) => made.forge({ id, instance: 'i-0123456789abcdef0' }));
    const { out, error } = await printed((printer) =>
      clean({ bucket: 'bucket', prefix: 'team', apply: true }, printer),
    );
    stop();
    expect(error).toBeNull();
    expect(out).toMatch(
      new RegExp(`Kept the instance ${ids['busy, hidden']}, .* past its lifetime.*${hidden} is active on it`),
    );
    for (const name of ['idle, hidden', 'mute, hidden'])
      expect(out).toMatch(new RegExp(`The instance ${ids[name]} was terminated\\.`));
    expect(made.at.aws.instances.get(ids['busy, hidden'])!.state).toBe('running');
  });

  it('ends an instance that is past its lifetime, and asks it first, however many forged projects there are', async () => {
    const run = newRunId('model', new Date());
    for (const name of ['busy, of many', 'mute, of many']) {
      ids[name] = await made.launch(made.tags({ project: 'zebra', lifetime: '3600', finish: 'terminate - -' }));
      made.at.aws.instances.get(ids[name])!.launched -= 3 * HOUR;
    }
    made.watchdog(ids['busy, of many']);
    const stop = await made.runOn(ids['busy, of many'], run);
    for (const name of ['a1', 'a2', 'a3']) await made.tell({ id: run, instance: 'i-0123456789abcdef0', project: name });
    // Three are as many as are looked at, in place of thousands.
    const { listFirstDirectories } = Store.prototype;
    const limits: number[] = [];
    const spy = jest.spyOn(Store.prototype, 'listFirstDirectories').mockImplementation(function (this: Store, ...args) {
      const [prefix, limit, after] = args;
      limits.push(limit);
      return listFirstDirectories.call(this, prefix, Math.min(limit, 3), after);
    });
    const { out, error } = await printed((printer) =>
      clean({ bucket: 'bucket', prefix: 'team', apply: true }, printer),
    );
    spy.mockRestore();
    stop();
    expect(error).toBeNull();
    expect(Math.max(...limits)).toBeLessThanOrEqual(2_000);
    expect(out).toMatch(new RegExp(`Kept the instance ${ids['busy, of many']}, .*: ${run} is active on it`));
    expect(out).toMatch(new RegExp(`The instance ${ids['mute, of many']} was terminated\\.`));
  });
});
