import { RunInstancesCommand } from '@aws-sdk/client-ec2';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPipeline } from '../../run/pipeline.fixture';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { specHash, TAG } from '../describe/ownership';
import { ensureInstance } from './ensure-instance';
import { Caller, CALLER, clear, launchSpecOf } from './ensure-instance.fixture';
import { Launch, LAUNCH_TIMEOUTS } from './launcher';
import { generationOf, type LaunchState } from './launch-journal';
import { placements } from './launch-options';
import type { EnsureOptions } from './options';

const HOUR = 3_600_000;
const MINUTE = 60_000;
let project = 0;

/**
 * A journal without an instance, as a client leaves it that is killed before it asks EC2, or as somebody writes it who
 * may write to the bucket.
 */
describe('the journal of a launch that was killed', () => {
  let at: Fixture;
  let caller: Caller;
  let generation: string;
  const memory = mkdtempSync(join(tmpdir(), 'nx-ec2-memory-'));
  beforeAll(async () => {
    at = await startPipeline({ instances: [], boot: HOUR });
    process.env.NX_EC2_CACHE_DIRECTORY = memory;
  });
  afterAll(async () => {
    await at.close();
    rmSync(memory, { recursive: true, force: true });
  });
  beforeEach(() => {
    generation = randomBytes(8).toString('hex');
    caller = new Caller({ workspace: 'acme', project: `vision ${++project}`, caller: CALLER });
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    caller.aws.close();
    await clear(at);
  });

  const optionsOf = (launchSpec: LaunchSpec, more: Partial<EnsureOptions> = {}) =>
    caller.options(launchSpec, { timeouts: { profile: 5_000, sure: 500 }, ...more });

  /** @param ago how long before now it was written, ms, by its writer's clock. */
  async function interrupted(options: EnsureOptions, change: Partial<LaunchState> = {}, ago = 0): Promise<void> {
    const { aws, launchSpec, store, keys, owner } = options;
    const key = specHash(owner, launchSpec);
    const launchOptions = await placements(aws, launchSpec);
    const state: LaunchState = {
      v: 2,
      generation,
      at: Date.now() - ago,
      launchOptions,
      n: 0,
      refused: [],
      kept: [],
      instances: [],
      ...change,
    };
    await store.put(keys.launch(key), Buffer.from(JSON.stringify(state)));
  }
  const tokenOf = (id: string) => at.aws.instances.get(id)!.clientToken;

  it('is continued while it is fresh: EC2 is asked under the same token', async () => {
    const options = optionsOf(launchSpecOf({ spot: true }));
    await interrupted(options, {}, MINUTE);
    const { id, how } = await ensureInstance(options);
    expect([how, tokenOf(id)]).toEqual(['launched', `nx-ec2-${generation}-0`]);
  });

  it('does not decide tags: run, owner, price and deadline are those of the command that launches', async () => {
    const run = '20261125-101010-vision-abcdef';
    const options = optionsOf(launchSpecOf({ spot: true, maxLifetime: '1h', maxCost: 1 }), { by: 'remote-train', run });
    const forged = {
      run: '20260101-000000-other-ghijkl',
      by: `${CALLER}/forged`,
      launchedBy: 'remote-up',
      price: '0.000001 spot eu-west-1a 2026-01-01 ec2',
      deadline: Date.now() + 100 * HOUR,
      lifetime: '360000',
    };
    await interrupted(options, forged as object);
    const { id, tags, deadline } = await ensureInstance(options);
    expect(tokenOf(id)).toBe(`nx-ec2-${generation}-0`);
    expect(tags).toMatchObject({
      [TAG.run]: run,
      [TAG.owner]: CALLER,
      [TAG.by]: 'remote-train',
      [TAG.lifetime]: '3600',
      [TAG.price]: expect.stringMatching(/^0\.00\d+ spot eu-west-1a /),
    });
    expect(Math.abs(deadline! - Date.now() - HOUR)).toBeLessThan(MINUTE);
  });

  it('leads to the instance that another run launched under its token, which keeps its tags', async () => {
    const of = (letter: string) =>
      optionsOf(launchSpecOf({ spot: true }), {
        by: 'remote-train',
        run: `20261125-101010-vision-${letter.repeat(6)}`,
      });
    const { id, tags } = await ensureInstance(of('a'));
    await interrupted(of('b'), { generation: generationOf(tokenOf(id) ?? null)! });
    const launch = new Launch(of('b'), specHash(caller.owner, of('b').launchSpec), LAUNCH_TIMEOUTS);
    const {
      how,
      instances: [instance],
    } = await launch.run();
    expect([how, instance.id, instance.tags]).toEqual(['found', id, tags]);
    expect(at.aws.left().instances).toEqual([id]);
  });

  it('leads to what an option has launched that it calls refused', async () => {
    const options = optionsOf(launchSpecOf({ spot: true }));
    const { id } = await ensureInstance(options);
    const refused = ['InsufficientInstanceCapacity'];
    await interrupted(options, { generation: generationOf(tokenOf(id) ?? null)!, n: 1, refused });
    const launch = new Launch(options, specHash(caller.owner, options.launchSpec), LAUNCH_TIMEOUTS);
    const {
      how,
      instances: [instance],
    } = await launch.run();
    expect([how, instance.id]).toEqual(['found', id]);
    expect(at.aws.left().instances).toEqual([id]);
  });

  it.each([
    ['terminated where nothing runs there', true],
    ['kept where it is in use or does not answer', false],
  ])('that names one of two instances has the other %s', async (_, isIdle) => {
    const options = optionsOf(launchSpecOf({ spot: true }), { isIdle: async () => isIdle });
    const { id, tags } = await ensureInstance(options);
    const generation = generationOf(tokenOf(id) ?? null)!;
    const { Instances } = await at.ec2.send(
      new RunInstancesCommand({
        ImageId: 'ami-00000000000000005',
        InstanceType: 't3.micro',
        MinCount: 1,
        MaxCount: 1,
        ClientToken: `nx-ec2-${generation}-1`,
        TagSpecifications: [
          { ResourceType: 'instance', Tags: Object.entries(tags).map(([Key, Value]) => ({ Key, Value })) },
        ],
      }),
    );
    const other = Instances![0].InstanceId!;
    await interrupted(options, { generation, n: 1, refused: ['InsufficientInstanceCapacity'], instances: [other] });
    expect((await ensureInstance(options)).id).toBe(other);
    expect(new Set(at.aws.left().instances)).toEqual(new Set(isIdle ? [other] : [id, other]));
    expect(caller.told).toContain(isIdle ? `Terminating ${id}: a duplicate` : `warning: ${id} is kept: it is in use`);
  });

  it.each([
    ['long ago', 2 * HOUR],
    ['by a clock that is far ahead', -HOUR],
  ])('is replaced if it was written %s', async (_, ago) => {
    const options = optionsOf(launchSpecOf({ spot: true }));
    await interrupted(options, {}, ago);
    expect(tokenOf((await ensureInstance(options)).id)).not.toContain(generation);
  });

  it('still leads to the instance that it launched, however old it is', async () => {
    const options = optionsOf(launchSpecOf({ spot: true, maxLifetime: '4h' }), { by: 'remote-train' });
    await interrupted(options);
    const { id, deadline } = await ensureInstance(options);
    await interrupted(options, {}, 2 * HOUR);
    // As where EC2's list did not have it yet when the command looked there.
    const launch = new Launch(options, specHash(caller.owner, options.launchSpec), LAUNCH_TIMEOUTS);
    const {
      how,
      instances: [instance],
    } = await launch.run();
    expect([how, instance.id, instance.tags[TAG.deadline]]).toEqual(['found', id, `${deadline}`]);
    expect(at.aws.left().instances).toEqual([id]);
  });

  const both = () =>
    launchSpecOf({ type: ['t3.micro', 't3.medium'], subnet: 'subnet-0000000000000000a', spot: 'or-on-demand' });
  const option = (type: string, market: 'spot' | 'on-demand') => ({
    type,
    market,
    subnet: 'subnet-0000000000000000a',
    zone: 'eu-west-1a',
  });
  const CAPACITY = 'InsufficientInstanceCapacity';

  it('lets a launch skip the options that were refused a moment ago, and says so', async () => {
    const options = optionsOf(both());
    await interrupted(options, { n: 3, refused: [CAPACITY, CAPACITY, CAPACITY] }, MINUTE);
    const { type, market } = await ensureInstance(options);
    expect([type, market]).toEqual(['t3.medium', 'on-demand']);
    expect(caller.told).toContain(
      'EC2 refused another command some minutes ago, so these are not tried: t3.micro (spot) in eu-west-1a (InsufficientInstanceCapacity), t3.medium (spot) in eu-west-1a (InsufficientInstanceCapacity), t3.micro in eu-west-1a (InsufficientInstanceCapacity).\nLaunching t3.medium',
    );
  });

  it.each<[string, Partial<LaunchState>, number]>([
    ['were refused longer ago than capacity lacks', { n: 3, refused: [CAPACITY, CAPACITY, CAPACITY] }, 30 * MINUTE],
    ['it says were refused for what is no lack of capacity', { n: 1, refused: ['NotOffered'] }, 0],
    ['it does not name', { launchOptions: [option('t3.medium', 'on-demand')] }, 0],
    [
      'it names after the one that it has reached',
      { launchOptions: [option('t3.medium', 'on-demand'), option('t3.micro', 'spot')] },
      0,
    ],
  ])('does not let a launch skip options that %s', async (_, change, ago) => {
    const options = optionsOf(both());
    await interrupted(options, change, ago);
    const { type, market } = await ensureInstance(options);
    expect([type, market]).toEqual(['t3.micro', 'spot']);
    expect(caller.told).not.toMatch('not tried');
  });

  it('does not make a launch fail with NO_CAPACITY if only the journal says that options were refused', async () => {
    const options = optionsOf(both());
    at.aws.capacity.add({ type: 't3.micro', market: 'spot', times: 1 });
    const { store } = options;
    const swap = store.compareAndSwap.bind(store);
    let forged = false;
    // When the first option was refused, somebody writes that there is no other.
    jest.spyOn(store, 'compareAndSwap').mockImplementation(async (key, body, etag) => {
      const state = JSON.parse(body.toString()) as LaunchState;
      if (state.n !== 1 || forged) return swap(key, body, etag);
      forged = true;
      return swap(key, Buffer.from(JSON.stringify({ ...state, launchOptions: state.launchOptions.slice(0, 1) })), etag);
    });
    expect((await ensureInstance(options)).how).toBe('launched');
    expect(forged).toBe(true);
  });
});
