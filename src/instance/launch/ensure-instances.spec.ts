import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { startPipeline } from '../../run/pipeline.fixture';
import { TAG } from '../describe/ownership';
import { launchTagged } from '../stop/tagged.fixture';
import { ensureInstance, ensureInstances, type EnsuredInstance } from './ensure-instance';
import { Caller, CALLER, clear, launchSpecOf } from './ensure-instance.fixture';
import { generationOf } from './launch-journal';
import type { EnsureOptions } from './options';

/** Instances stay pending: no process of theirs runs, and none is needed. */
const NEVER = 3_600_000;
let project = 0;

describe('several instances of one launch', () => {
  let at: Fixture;
  let caller: Caller;
  beforeAll(async () => void (at = await startPipeline({ instances: [], boot: NEVER })));
  afterAll(() => at.close());
  beforeEach(() => void (caller = new Caller({ workspace: 'w', project: `nodes ${++project}`, caller: CALLER })));
  afterEach(async () => {
    caller.aws.close();
    await clear(at);
  });

  const up = (written: object = {}, more: Partial<EnsureOptions> = {}, by = caller) => {
    const timeouts = { profile: 2_000, sure: 1_500 };
    return ensureInstances(by.options(launchSpecOf(written), { count: 3, timeouts, ...more }));
  };
  const idsOf = (instances: EnsuredInstance[]) => instances.map(({ id }) => id);
  const local = (id: string) => at.aws.instances.get(id)!;
  const left = () => [...at.aws.left().instances].sort();
  const end = (...ids: string[]) => at.ec2.send(new TerminateInstancesCommand({ InstanceIds: ids }));

  it('are launched by one request, and returned in the order of the launch', async () => {
    const made = await up();
    expect(made.map(({ how }) => how)).toEqual(['launched', 'launched', 'launched']);
    expect(made.map(({ id }) => local(id).index)).toEqual([0, 1, 2]);
    expect(new Set(made.map(({ id }) => local(id).reservation)).size).toBe(1);
    expect(caller.told).toMatch(
      /^Launching 3 x t3\.micro in eu-west-1a: 3 x \$0\.01 an hour \(.*\), at most \$0\.73; they shut down after at most 24h 00m, or 1h 00m idle\.\nLaunched 3 instances \(t3\.micro, eu-west-1a\): i-\w+, i-\w+, i-\w+\.$/,
    );
    expect(await up()).toEqual(made.map((each) => ({ ...each, how: 'found' })));
    expect(left()).toEqual(idsOf(made).sort());
  });

  it('are never taken for a single one, nor for another number of them', async () => {
    const three = await up();
    const one = await ensureInstance(caller.options(launchSpecOf({})));
    const two = await up({}, { count: 2 });
    expect(left()).toEqual(idsOf([...three, one, ...two]).sort());
    expect((await ensureInstance(caller.options(launchSpecOf({})))).id).toBe(one.id);
  });

  it('cost no more than the maximum together', async () => {
    const made = await up({ maxCost: 3, maxLifetime: '24h' }, { pricePerHour: 0.5 });
    expect(made.map(({ tags }) => tags[TAG.lifetime])).toEqual(['7200', '7200', '7200']);
    expect(caller.told).toContain(
      '3 x $0.50 an hour (eu-west-1, as configured), at most $3.00; they shut down after at most 2h',
    );
    caller.said.length = 0;
    await up({ maxCost: 3, maxLifetime: '24h' }, { pricePerHour: 0.5 });
    expect(caller.told).not.toContain('keeps the limits');
    const little = up({ maxCost: 0.02, type: 't3.medium' }, { pricePerHour: 0.5 });
    await expect(little).rejects.toMatchObject({
      code: 'MAX_COST',
      message: expect.stringContaining('at 3 x $0.50 an hour'),
    });
  });

  it('are all launched elsewhere if a zone has capacity for some of them', async () => {
    at.aws.capacity.add({ zone: 'eu-west-1a', instances: 2 });
    const made = await up();
    expect(made.map(({ zone }) => zone)).toEqual(['eu-west-1b', 'eu-west-1b', 'eu-west-1b']);
    expect(caller.told).toContain('3 x t3.micro in eu-west-1a: InsufficientInstanceCapacity');
    expect(left()).toEqual(idsOf(made).sort());
  });

  it('are none if there is capacity for some of them everywhere', async () => {
    at.aws.capacity.add({ instances: 2 });
    await expect(up({ spot: 'or-on-demand' })).rejects.toMatchObject({
      code: 'NO_CAPACITY',
      message: expect.stringMatching(
        /^EC2 has no capacity for 3 instances at once for any of these:\n {2}t3\.micro \(spot\) in/,
      ),
    });
    expect(left()).toEqual([]);
  });

  it('are launched once if several clients launch them at the same time', async () => {
    at.aws.capacity.add({ zone: 'eu-west-1a', instances: 2 });
    const callers = Array.from({ length: 4 }, () => new Caller(caller.owner));
    const made = await Promise.all(callers.map((each) => up({}, {}, each)));
    for (const each of callers) each.aws.close();
    for (const each of made) expect(idsOf(each)).toEqual(idsOf(made[0]));
    expect(left()).toEqual(idsOf(made[0]).sort());
  });

  describe('of which fewer are enough', () => {
    const few = { count: 4, min: 2 };

    it('are as many as a zone has capacity for', async () => {
      at.aws.capacity.add({ zone: 'eu-west-1a', instances: 1 });
      at.aws.capacity.add({ zone: 'eu-west-1b', instances: 3 });
      const made = await up({}, few);
      expect(made.map(({ zone }) => zone)).toEqual(['eu-west-1b', 'eu-west-1b', 'eu-west-1b']);
      expect(caller.told).toMatch(/Launching 2 to 4 x t3\.micro in eu-west-1b: 4 x \$0\.01 an hour/);
      expect(caller.told).toMatch(/Launched 3 instances \(.*\): .*\. EC2 had capacity for 3 of 4\.$/);
      expect(idsOf(await up({}, few))).toEqual(idsOf(made));
      expect(left()).toEqual(idsOf(made).sort());
    });

    it('are launched once if several clients launch them at the same time', async () => {
      at.aws.capacity.add({ instances: 3 });
      const callers = Array.from({ length: 3 }, () => new Caller(caller.owner));
      const made = await Promise.all(callers.map((each) => up({}, few, each)));
      for (const each of callers) each.aws.close();
      for (const each of made) expect(idsOf(each)).toEqual(idsOf(made[0]));
      expect(left()).toEqual(idsOf(made[0]).sort());
    });

    it('are those that live, and others beside them only if these are too few', async () => {
      const made = await up({}, few);
      expect(made).toHaveLength(4);
      await end(made[0].id, made[2].id);
      expect(idsOf(await up({}, few))).toEqual([made[1].id, made[3].id]);
      await end(made[1].id);
      at.aws.capacity.add({ zone: made[3].zone!, instances: 3 });
      const now = await up({}, few);
      expect(now.map(({ how }) => how).sort()).toEqual(['found', 'launched', 'launched']);
      expect(left()).toEqual(idsOf(now).sort());
    });
  });

  describe('of which some are gone', () => {
    let first: EnsuredInstance[];
    const written = { type: ['t3.micro', 'm5.large'], spot: 'or-on-demand', maxLifetime: '2h' };
    const ofRun = { by: 'remote-train', run: '20261125-101010-vision-abcdef' } as const;
    beforeEach(async () => {
      at.aws.capacity.add({ zone: 'eu-west-1a' });
      first = await up(written, ofRun);
      at.aws.capacity.clear();
      caller.said.length = 0;
    });

    it('are completed beside the others: same type, market and subnet, a token of their own, the same end', async () => {
      await end(first[1].id);
      const now = await up(written, ofRun);
      const added = now.filter(({ how }) => how === 'launched');
      expect(idsOf(now).filter((id) => id !== added[0].id)).toEqual([first[0].id, first[2].id]);
      expect(added).toMatchObject([{ type: 't3.micro', market: 'spot', zone: first[0].zone }]);
      expect(local(added[0].id).clientToken).not.toBe(local(first[0].id).clientToken);
      const ends = first.map(({ id }) => local(id).launched + 2 * 3_600_000);
      expect(added[0].deadline).toBeLessThanOrEqual(Math.min(...ends));
      expect(caller.told).toMatch(/Launching t3\.micro \(spot\) in eu-west-1b: .*; it shuts down after/);
      expect(left()).toEqual(idsOf(now).sort());
    });

    it('are completed all or none, and those that live are kept and named if there is no capacity beside them', async () => {
      await end(first[1].id, first[2].id);
      at.aws.capacity.add({ zone: 'eu-west-1b', instances: 2 });
      await expect(up(written, ofRun)).rejects.toMatchObject({
        code: 'NO_CAPACITY',
        message: expect.stringMatching(
          new RegExp(
            `^EC2 has no capacity for 2 of 3 instances, beside those that exist \\(${first[0].id}\\):\\n {2}t3\\.micro \\(spot\\) in eu-west-1b: Insuff.*\\nThose that exist are kept until their shutdown rules end them\\. To terminate them now: nx run .*remote-down`,
          ),
        ),
      });
      expect(left()).toEqual([first[0].id]);
      at.aws.capacity.clear();
      const now = await up(written, ofRun);
      expect(now.map(({ how }) => how).sort()).toEqual(['found', 'launched', 'launched']);
      expect(left()).toEqual(idsOf(now).sort());
    });

    it('are completed once if several clients do it at the same time', async () => {
      await end(first[0].id, first[1].id);
      const callers = Array.from({ length: 3 }, () => new Caller(caller.owner));
      const made = await Promise.all(callers.map((each) => up(written, ofRun, each)));
      for (const each of callers) each.aws.close();
      for (const each of made) expect(idsOf(each)).toEqual(idsOf(made[0]));
      expect(left()).toEqual(idsOf(made[0]).sort());
    });

    it('are started if they were stopped', async () => {
      const third = first[2].id;
      for (const { id } of first) at.aws.instances.change(local(id), 'running');
      at.aws.instances.change(local(third), 'stopped');
      const now = await up(written, ofRun);
      expect(now.map(({ how }) => how)).toEqual(['found', 'found', 'started']);
      expect(idsOf(now)).toEqual(idsOf(first));
    });
  });

  describe('beside which an earlier attempt of the same launch has launched others', () => {
    let first: EnsuredInstance[];
    let others: string[];
    beforeEach(async () => {
      first = await up();
      const generation = generationOf(local(first[0].id).clientToken ?? null);
      const ClientToken = `nx-ec2-${generation}-1`;
      others = [
        await launchTagged(at, first[0].tags, { ClientToken }),
        await launchTagged(at, first[0].tags, { ClientToken: `nx-ec2-${generation}-2` }),
      ];
    });

    it('are kept, and the others are terminated', async () => {
      expect(idsOf(await up())).toEqual(idsOf(first));
      expect(left()).toEqual(idsOf(first).sort());
      for (const other of others) expect(caller.told).toContain(`Terminating ${other}: a duplicate`);
    });

    it('are kept, and so are others that are in use', async () => {
      expect(idsOf(await up({}, { isIdle: async (id) => id !== others[0] }))).toEqual(idsOf(first));
      expect(left()).toEqual([...idsOf(first), others[0]].sort());
      expect(caller.told).toContain(`warning: ${others[0]} is kept: it is in use`);
      expect(caller.told).toContain(`Using ${idsOf(first).join(', ')}.`);
    });
  });
});
