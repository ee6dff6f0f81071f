import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPipeline } from '../../run/pipeline.fixture';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { bringUp, type BringUp } from '../bring-up';
import { Caller, CALLER, clear, described } from '../bring-up.fixture';
import { generationOf } from '../launch';
import type { LaunchState } from '../launch-journal';
import { madeKey, TAG } from '../made';
import { describeInstances, launchTagged } from './tagged.fixture';

let project = 0;

/** Whoever writes below the prefix can write the object that says how far a launch is. */
describe('a forged launch journal', () => {
  let at: Fixture;
  let caller: Caller;
  const description = described({});
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

  const wish = (more: Partial<BringUp> = {}) =>
    caller.wish(description, { prefix: 'team', patience: { profile: 5_000, sure: 2_000 }, ...more });
  const states = async (...ids: string[]) => (await describeInstances(at, ...ids)).map(({ state }) => state);
  const journalKey = () => wish().keys.launch(madeKey(caller.owner, description));
  const read = async () => JSON.parse((await wish().store.get(journalKey(), 65536))!.toString()) as LaunchState;
  const forge = async (change: Partial<LaunchState>) =>
    wish().store.put(journalKey(), Buffer.from(JSON.stringify({ ...(await read()), ...change })));

  it('has no instance of another launch terminated as a duplicate', async () => {
    const { id, tags } = await bringUp(wish());
    const second = await launchTagged(at, tags, { ClientToken: 'nx-ec2-00000000000000aa-0' });
    // It says that the first was launched by an attempt that was given up, and that the second has taken its place.
    await forge({ instance: second, n: 0 });
    await bringUp(wish());
    expect(await states(id, second)).toEqual(['running', 'running']);
    expect(caller.told).toMatch(/Several instances/);
  });

  it('has no instance of another run, owner or store terminated, of the same launch', async () => {
    const first = await bringUp(wish());
    const generation = generationOf(at.aws.instances.get(first.id)!.clientToken ?? null);
    const of = (n: number, more: Record<string, string>) =>
      launchTagged(at, { ...first.tags, ...more }, { ClientToken: `nx-ec2-${generation}-${n}` });
    const others = [
      await of(1, { [TAG.run]: '20260101-000000-vision-abcdef' }),
      await of(2, { [TAG.store]: 'bucket/other' }),
      await of(3, { [TAG.owner]: 'arn:aws:iam::123456789012:user/bea' }),
      await of(4, { [TAG.managed]: 'false' }),
    ];
    await forge({ instance: first.id });
    await bringUp(wish());
    expect(await states(first.id, ...others)).toEqual(Array(5).fill('running'));
  });

  it('and a true one: of one launch, what the journal does not name is terminated', async () => {
    const { id, tags } = await bringUp(wish());
    const generation = generationOf(at.aws.instances.get(id)!.clientToken ?? null);
    expect(generation).toMatch(/^[0-9a-f]{16}$/);
    const twin = await launchTagged(at, tags, { ClientToken: `nx-ec2-${generation}-7` });
    expect((await bringUp(wish())).id).toBe(id);
    expect((await states(id, twin)).map((state) => state === 'running')).toEqual([true, false]);
    expect(caller.told).toMatch(`Terminating ${twin}: a duplicate`);
  });

  it.each([
    ['an instance that does not exist', 'i-0123456789abcdef0'],
    ['one that nx-ec2 did not launch', undefined],
  ])(
    'that names %s does not cost the new one its life, nor that one',
    async (_, named) => {
      const foreign = named ?? (await launchTagged(at, { Name: 'database' }));
      const { store } = wish();
      const swap = store.swap.bind(store);
      let forged = 0;
      // Between the launch and the moment in which it is written down.
      jest.spyOn(store, 'swap').mockImplementation(async (key, body, etag) => {
        const state = JSON.parse(body.toString()) as LaunchState;
        if (state.instance !== null && !forged++)
          await store.put(key, Buffer.from(JSON.stringify({ ...state, instance: foreign })));
        return swap(key, body, etag);
      });
      const { id, how } = await bringUp(wish({ store }));
      expect(forged).toBeGreaterThan(1);
      expect(how).toBe('launched');
      expect(await states(id)).toEqual(['running']);
      if (!named) expect(await states(foreign)).toEqual(['running']);
      expect((await read()).instance).toBe(id);
    },
    60_000,
  );
});
