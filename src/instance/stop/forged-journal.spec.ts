import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPipeline } from '../../run/pipeline.fixture';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { ensureInstance } from '../launch/ensure-instance';
import { Caller, CALLER, clear, launchSpecOf } from '../launch/ensure-instance.fixture';
import { Launch, LAUNCH_TIMEOUTS } from '../launch/launcher';
import { generationOf, type LaunchState } from '../launch/launch-journal';
import { specHash, TAG } from '../describe/ownership';
import { describeInstances, launchTagged } from './tagged.fixture';
import type { EnsureOptions } from '../launch/options';

let project = 0;

/** Whoever writes below the prefix can write the object that says how far a launch is. */
describe('a forged launch journal', () => {
  let at: Fixture;
  let caller: Caller;
  const launchSpec = launchSpecOf({});
  const memory = mkdtempSync(join(tmpdir(), 'nx-ec2-memory-'));
  beforeAll(async () => {
    at = await startPipeline({ instances: [] });
    process.env.NX_EC2_CACHE_DIRECTORY = memory;
  });
  afterAll(async () => {
    await at.close();
    rmSync(memory, { recursive: true, force: true });
  });
  beforeEach(() => {
    caller = new Caller({ workspace: 'acme', project: `vision ${++project}`, caller: CALLER });
  });
  afterEach(async () => {
    caller.aws.close();
    await clear(at);
  });

  const options = (more: Partial<EnsureOptions> = {}) =>
    caller.options(launchSpec, { prefix: 'team', timeouts: { profile: 5_000, sure: 2_000 }, ...more });
  const states = async (...ids: string[]) => (await describeInstances(at, ...ids)).map(({ state }) => state);
  const journalKey = () => options().keys.launch(specHash(caller.owner, launchSpec));
  const read = async () => JSON.parse((await options().store.get(journalKey(), 65536))!.toString()) as LaunchState;
  const forge = async (change: Partial<LaunchState>) =>
    options().store.put(journalKey(), Buffer.from(JSON.stringify({ ...(await read()), ...change })));

  it('does not make a launch terminate an instance of another launch as a duplicate', async () => {
    const { id, tags } = await ensureInstance(options());
    const second = await launchTagged(at, tags, { ClientToken: 'nx-ec2-00000000000000aa-0' });
    // It says that the first was launched by an attempt that was given up, and that the second has taken its place.
    await forge({ instances: [second], n: 0 });
    await ensureInstance(options());
    expect(await states(id, second)).toEqual(['running', 'running']);
    expect(caller.told).toMatch(/Several instances/);
  });

  it('does not make a launch terminate an instance of another run, owner or store', async () => {
    const first = await ensureInstance(options());
    const generation = generationOf(at.aws.instances.get(first.id)!.clientToken ?? null);
    const of = (n: number, more: Record<string, string>) =>
      launchTagged(at, { ...first.tags, ...more }, { ClientToken: `nx-ec2-${generation}-${n}` });
    const others = [
      await of(1, { [TAG.run]: '20260101-000000-vision-abcdef' }),
      await of(2, { [TAG.store]: 'bucket/other' }),
      await of(3, { [TAG.owner]: 'arn:aws:iam::123456789012:user/bea' }),
      await of(4, { [TAG.managed]: 'false' }),
    ];
    await forge({ instances: [first.id] });
    await ensureInstance(options());
    expect(await states(first.id, ...others)).toEqual(Array(5).fill('running'));
  });

  it('terminates, if it is genuine, a duplicate of its launch that it does not name', async () => {
    const { id, tags } = await ensureInstance(options());
    const generation = generationOf(at.aws.instances.get(id)!.clientToken ?? null);
    expect(generation).toMatch(/^[0-9a-f]{16}$/);
    const twin = await launchTagged(at, tags, { ClientToken: `nx-ec2-${generation}-7` });
    expect((await ensureInstance(options())).id).toBe(id);
    expect((await states(id, twin)).map((state) => state === 'running')).toEqual([true, false]);
    expect(caller.told).toMatch(`Terminating ${twin}: a duplicate`);
  });

  it.each([
    ['an instance that does not exist', 'i-0123456789abcdef0'],
    ['one that nx-ec2 did not launch', undefined],
  ])('that names %s makes a launch terminate neither the new instance nor that one', async (_, named) => {
    const foreign = named ?? (await launchTagged(at, { Name: 'database' }));
    const { store } = options();
    const swap = store.compareAndSwap.bind(store);
    let forged = 0;
    // Between the launch and the moment in which it is written down.
    jest.spyOn(store, 'compareAndSwap').mockImplementation(async (key, body, etag) => {
      const state = JSON.parse(body.toString()) as LaunchState;
      if (state.instances.length && !forged++)
        await store.put(key, Buffer.from(JSON.stringify({ ...state, instances: [foreign] })));
      return swap(key, body, etag);
    });
    const { id, how } = await ensureInstance(options({ store }));
    expect(forged).toBeGreaterThan(1);
    expect(how).toBe('launched');
    expect(await states(id)).toEqual(['running']);
    if (!named) expect(await states(foreign)).toEqual(['running']);
    expect((await read()).instances).toEqual([id]);
  });

  it('that names another instance again and again delays a launch no longer than EC2’s lists lag behind', async () => {
    const { store } = options();
    const swap = store.compareAndSwap.bind(store);
    let forged = 0;
    jest.spyOn(store, 'compareAndSwap').mockImplementation(async (key, body, etag) => {
      const state = JSON.parse(body.toString()) as LaunchState;
      const instance = `i-${String(++forged).padStart(17, '0')}`;
      if (state.instances.length)
        await store.put(key, Buffer.from(JSON.stringify({ ...state, instances: [instance] })));
      return swap(key, body, etag);
    });
    const { id, how } = await ensureInstance(options({ store }));
    expect([how, await states(id)]).toEqual(['launched', ['running']]);
    expect(forged).toBeGreaterThan(20);
  });

  it('that another program replaces again and again makes a launch terminate nothing if EC2 lists no other instance', async () => {
    const { store } = options();
    const swap = store.compareAndSwap.bind(store);
    let forged = 0;
    jest.spyOn(store, 'compareAndSwap').mockImplementation(async (key, body, etag) => {
      const state = JSON.parse(body.toString()) as LaunchState;
      const generation = String(++forged).padStart(16, '0');
      // While EC2 launches.
      if (state.instances.length)
        await store.put(key, Buffer.from(JSON.stringify({ ...state, generation, instances: [] })));
      return swap(key, body, etag);
    });
    const { id, how } = await ensureInstance(options({ store }));
    expect([how, at.aws.left().instances]).toEqual(['launched', [id]]);
    expect(forged).toBeGreaterThan(20);
    expect(caller.told).not.toMatch(/Terminating/);
  });

  it('whose launch another client has begun again leaves the older of two instances, which EC2 lists', async () => {
    const first = await ensureInstance(options());
    const generation = generationOf(at.aws.instances.get(first.id)!.clientToken ?? null)!;
    const { store } = options();
    await store.delete([journalKey()]);
    const swap = store.compareAndSwap.bind(store);
    let restarted = 0;
    jest.spyOn(store, 'compareAndSwap').mockImplementation(async (key, body, etag) => {
      const state = JSON.parse(body.toString()) as LaunchState;
      if (state.instances.length && !restarted++)
        await store.put(key, Buffer.from(JSON.stringify({ ...state, generation, instances: [] })));
      return swap(key, body, etag);
    });
    const launch = new Launch(options({ store }), specHash(caller.owner, launchSpec), LAUNCH_TIMEOUTS);
    expect((await launch.run()).instances[0].id).toBe(first.id);
    expect(at.aws.left().instances).toEqual([first.id]);
    expect(caller.told).toMatch(/Terminating i-\w+: another client launched an instance first/);
  });

  it('that always shows a recent launch is waited for no longer than the stated timeout', async () => {
    const { store } = options();
    const read = store.getWithETag.bind(store);
    const [option] = [{ type: 'x.large', subnet: 'subnet-1', zone: 'eu-west-1a', market: 'on-demand' }];
    let forged = 0;
    jest.spyOn(store, 'getWithETag').mockImplementation(async (key, limit, more) => {
      const generation = String(++forged).padStart(16, '0');
      const state = { v: 1, generation, at: Date.now(), launchOptions: [option], n: 0, refused: [], instance: null };
      await store.put(key, Buffer.from(JSON.stringify(state)));
      return read(key, limit, more);
    });
    const timeouts = { profile: 5_000, sure: 2_000, others: 3_000 };
    await expect(ensureInstance(options({ store, timeouts }))).rejects.toMatchObject({
      code: 'LAUNCH_STATE',
      message: expect.stringMatching(/This command has launched nothing\.$/m),
    });
    expect(forged).toBeGreaterThan(1);
  });
});
