import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPipeline } from '../../run/pipeline.fixture';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import type { Description } from '../../config/description';
import { specHash, TAG } from '../describe/ownership';
import { ensureInstance } from './ensure-instance';
import { Caller, CALLER, clear, described } from './ensure-instance.fixture';
import { imagesOf } from './image';
import { LaunchAttempt } from './launch-attempt';
import { Launch, LAUNCH_TIMEOUTS } from './launcher';
import type { LaunchState } from './launch-journal';
import { placements } from './launch-options';
import { machineTypes } from './machine-type';
import type { EnsureOptions } from './options';

const HOUR = 3_600_000;
const MINUTE = 60_000;
let project = 0;

/**
 * A journal without an instance, as a client leaves it that is killed before it asks EC2, or as somebody writes it who
 * may write to the bucket: its parameters have the hash that it names.
 */
describe('the journal of a launch that was interrupted', () => {
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

  const optionsOf = (description: Description, more: Partial<EnsureOptions> = {}) =>
    caller.options(description, { timeouts: { profile: 5_000, sure: 500 }, ...more });

  /** @param ago how long before now it was written, ms, by its writer's clock. */
  async function interrupted(options: EnsureOptions, change: Partial<LaunchState> = {}, ago = 0): Promise<LaunchState> {
    const { aws, description, store, keys, owner, by } = options;
    const key = specHash(owner, description);
    const launchOptions = await placements(aws, description);
    const attempt = new LaunchAttempt(options, key);
    attempt.images = await imagesOf(aws, description.ami, await machineTypes(aws, description.types));
    const now = Date.now();
    const first: LaunchState = {
      v: 1,
      generation,
      at: now - ago,
      by: owner.caller,
      launchedBy: by,
      run: null,
      launchOptions,
      n: 0,
      refused: [],
      price: null,
      deadline: null,
      parameters: '',
      instance: null,
      ...change,
    };
    // The price is known from here on: no request is sent by the other clock.
    await attempt.of(first);
    const clock = jest.spyOn(Date, 'now').mockReturnValue(now - ago);
    const state = await attempt.of(first);
    clock.mockRestore();
    await store.put(keys.launch(key), Buffer.from(JSON.stringify(state)));
    return state;
  }
  const tokenOf = (id: string) => at.aws.instances.get(id)!.clientToken;

  it('is continued while it is fresh: EC2 is asked under the same token', async () => {
    const options = optionsOf(described({ spot: true, maxLifetime: '1h' }), { by: 'remote-train' });
    const { deadline } = await interrupted(options, {}, MINUTE);
    const made = await ensureInstance(options);
    expect([tokenOf(made.id), made.deadline]).toEqual([`nx-ec2-${generation}-0`, deadline]);
  });

  it.each([
    ['after its deadline', '1h', 2 * HOUR],
    ['shortly before its deadline', '1h', 58 * MINUTE],
    ['when half of a short lifetime is over', '6m', 4 * MINUTE],
    ['by a clock that is far ahead', '1h', -HOUR],
  ])('launches nothing with its deadline where the next command comes %s', async (_, maxLifetime, ago) => {
    const options = optionsOf(described({ spot: true, maxLifetime }), { by: 'remote-train' });
    const { deadline } = await interrupted(options, {}, ago);
    const made = await ensureInstance(options);
    const [hours, minutes] = maxLifetime === '1h' ? [1, 0] : [0, 6];
    expect(made.deadline).not.toBe(deadline);
    expect(Math.abs(made.deadline! - Date.now() - hours * HOUR - minutes * MINUTE)).toBeLessThan(MINUTE);
    expect(caller.told).toMatch(`after at most ${maxLifetime === '1h' ? '1h 00m' : '6m 00s'}`);
    expect(tokenOf(made.id)).not.toContain(generation);
  });

  it('still leads to what it had launched, however old it is', async () => {
    const options = optionsOf(described({ spot: true, maxLifetime: '4h' }), { by: 'remote-train' });
    const { deadline } = await interrupted(options);
    const { id } = await ensureInstance(options);
    await interrupted(options, {}, 2 * HOUR);
    // As where EC2's list did not have it yet when the command looked there.
    const launch = new Launch(options, specHash(caller.owner, options.description), LAUNCH_TIMEOUTS);
    const { how, instance } = await launch.run();
    expect([how, instance.id, instance.tags[TAG.deadline]]).toEqual(['found', id, `${deadline}`]);
    expect(at.aws.left().instances).toEqual([id]);
  });

  it.each([
    ['that is far too high', 1000],
    ['that is far too low', 0.0001],
  ])('does not decide by a price %s', async (_, pricePerHour) => {
    const options = optionsOf(described({ spot: true }));
    await interrupted({ ...options, pricePerHour });
    const { tags } = await ensureInstance(options);
    expect(Number(tags[TAG.price].split(' ')[0])).toBeLessThan(1);
    expect(Number(tags[TAG.price].split(' ')[0])).toBeGreaterThan(0.001);
  });

  it.each([
    ['1000', 1000],
    ['a little more than what "maxCost" buys the least time at', 0.9],
  ])('with a price of %s does not have the launch fail with MAX_COST', async (_, perHour) => {
    const options = optionsOf(described({ maxCost: 0.01 }), { pricePerHour: 0.5 });
    const state = await interrupted(options);
    const price = state.price!.replace('0.5', `${perHour}`);
    await options.store.put(
      options.keys.launch(specHash(caller.owner, options.description)),
      Buffer.from(JSON.stringify({ ...state, price })),
    );
    const { how, tags } = await ensureInstance(options);
    expect([how, tags[TAG.price].split(' ')[0]]).toEqual(['launched', '0.5']);
  });

  const both = () =>
    described({ type: ['t3.micro', 't3.medium'], subnet: 'subnet-0000000000000000a', spot: 'or-on-demand' });
  const option = (type: string, market: 'spot' | 'on-demand') => ({
    type,
    market,
    subnet: 'subnet-0000000000000000a',
    zone: 'eu-west-1a',
  });
  const CAPACITY = 'InsufficientInstanceCapacity';

  it('has the options skipped that were refused a moment ago, and says so', async () => {
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
  ])('has no options skipped that %s', async (_, change, ago) => {
    const options = optionsOf(both());
    await interrupted(options, change, ago);
    const { type, market } = await ensureInstance(options);
    expect([type, market]).toEqual(['t3.micro', 'spot']);
    expect(caller.told).not.toMatch('not tried');
  });

  it('does not have a launch fail with NO_CAPACITY for options that it alone calls refused', async () => {
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
