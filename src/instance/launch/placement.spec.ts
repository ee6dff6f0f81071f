import { CreatePlacementGroupCommand, DescribePlacementGroupsCommand } from '@aws-sdk/client-ec2';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { LOCAL_IDENTITY } from '../../local-aws/protocol/identity';
import { startPipeline } from '../../run/pipeline.fixture';
import { findExpired } from '../inventory/expired';
import { takeInventory } from '../inventory/inventory';
import { terminateExpired } from '../stop/terminate-expired';
import { specHash, TAG } from '../describe/ownership';
import { ensureInstances, type EnsuredInstance } from './ensure-instance';
import { Caller, CALLER, clear, launchSpecOf } from './ensure-instance.fixture';
import { LaunchJournal } from './launch-journal';
import type { EnsureOptions } from './options';

/** Instances stay pending: no process of theirs runs, and none is needed. */
const NEVER = 3_600_000;
const HOUR_MS = 3_600_000;
let project = 0;

describe('the placement group of a launch of several instances', () => {
  let at: Fixture;
  let caller: Caller;
  const identity = { ...LOCAL_IDENTITY, deny: [] as string[] };
  beforeAll(async () => {
    at = await startPipeline({ instances: [], boot: NEVER, identities: [identity], unseen: 200 });
  });
  afterAll(() => at.close());
  beforeEach(() => void (caller = new Caller({ workspace: 'w', project: `nodes ${++project}`, caller: CALLER })));
  afterEach(async () => {
    identity.deny.length = 0;
    await clear(at);
    await clean(0);
    expect(at.aws.left().placementGroups).toEqual([]);
    caller.aws.close();
  });

  const up = (written: object = {}, more: Partial<EnsureOptions> = {}) => {
    const launchSpec = launchSpecOf({ type: 'c5.xlarge', ...written });
    return ensureInstances(
      caller.options(launchSpec, { count: 2, timeouts: { profile: 2_000, group: 2_000, sure: 1_500 }, ...more }),
    );
  };
  /** What `clean --apply` does this long after now. @returns the expired placement groups. */
  const clean = async (later: number) => {
    const late = findExpired(
      await takeInventory(caller.aws),
      { tagged: () => null, on: () => [], says: () => null },
      Date.now() + HOUR_MS + later,
    ).filter(({ kind }) => kind === 'placement group');
    const options = { findExpired: () => late, timeout: 0, printer: caller.printer };
    const ended = await terminateExpired(caller.aws, late, options);
    expect(ended.map(({ result }) => result)).toEqual(late.map(() => 'ended'));
    return late.map(({ id }) => id);
  };
  const groups = async () => (await at.ec2.send(new DescribePlacementGroupsCommand({}))).PlacementGroups!;
  const end = (id: string) => at.aws.instances.change(at.aws.instances.get(id)!, 'terminated');
  const inGroup = ({ id }: EnsuredInstance) => at.aws.instances.get(id)!.placementGroup !== undefined;

  it('is created for it, with its tags, and is left to instances alone that are not terminated', async () => {
    const made = await up();
    const [group, ...others] = await groups();
    expect(others).toEqual([]);
    expect(group.GroupName).toMatch(/^nx-ec2-[0-9a-f]{16}$/);
    const tags = Object.fromEntries(group.Tags!.map(({ Key, Value }) => [Key!, Value!]));
    const { [TAG.created]: created, ...rest } = tags;
    expect(rest).toEqual(made[0].tags);
    expect(Math.abs(Number(created) - Date.now())).toBeLessThan(60_000);
    expect(made.map(inGroup)).toEqual([true, true]);
    expect(caller.told).toContain('Launching 2 x c5.xlarge in a placement group in eu-west-1a: ');
    expect((await up()).map(({ id }) => id)).toEqual(made.map(({ id }) => id));
    expect(await clean(0)).toEqual([]);
    made.forEach(({ id }) => end(id));
    expect(await clean(-HOUR_MS)).toEqual([]);
    expect(await clean(0)).toEqual([group.GroupName]);
  });

  it('is none for one instance, for a type that has none, or if none is wanted', async () => {
    await up({}, { count: 1 });
    await up({ type: 't3.micro' });
    await up({ placement: 'none' });
    expect(await groups()).toEqual([]);
    await expect(up({ type: ['c5.xlarge', 't3.micro'], placement: 'cluster' })).rejects.toMatchObject({
      code: 'PLACEMENT',
      message: expect.stringContaining('EC2 has no cluster placement groups for t3.micro.'),
    });
  });

  it('is done without if there is capacity only outside of it, unless it is asked for', async () => {
    at.aws.capacity.add({ zone: 'eu-west-1a', times: 1 });
    const made = await up();
    expect(made.map(({ zone }) => zone)).toEqual(['eu-west-1a', 'eu-west-1a']);
    expect(made.map(inGroup)).toEqual([false, false]);
    expect(caller.told).toContain('2 x c5.xlarge in a placement group in eu-west-1a: InsufficientInstanceCapacity');
    at.aws.capacity.add({ zone: 'eu-west-1a', times: 1 });
    const asked = await up({ placement: 'cluster' });
    expect(asked.map(({ zone }) => zone)).toEqual(['eu-west-1b', 'eu-west-1b']);
    expect(asked.map(inGroup)).toEqual([true, true]);
    at.aws.capacity.add({});
    await expect(up({ placement: 'cluster', volumeSize: '99GB' })).rejects.toMatchObject({
      code: 'NO_CAPACITY',
      message: expect.stringMatching(/c5\.xlarge in a placement group in eu-west-1c: .*; or leave out "placement"/s),
    });
  });

  it('is done without if the caller may not create it, which is said once, unless it is asked for', async () => {
    identity.deny.push('ec2:CreatePlacementGroup', 'ec2:DescribePlacementGroups');
    at.aws.capacity.add({ zone: 'eu-west-1a' });
    const made = await up();
    expect(made.map(inGroup)).toEqual([false, false]);
    expect(caller.said.filter((line) => line.includes('without a cluster placement group'))).toEqual([
      expect.stringMatching(
        /^The nodes are launched without .* UnauthorizedOperation: .*\nThe caller needs ec2:CreatePlacementGroup, .*\n.*"placement": "none"/,
      ),
    ]);
    await expect(up({ placement: 'cluster' })).rejects.toMatchObject({
      code: 'PLACEMENT',
      message: expect.stringMatching(/UnauthorizedOperation.*\n.*The caller needs ec2:CreatePlacementGroup/s),
    });
    expect(at.aws.left().instances.length).toBe(2);
    identity.deny.length = 0;
  });

  it("is done without if its name is somebody else's", async () => {
    const generation = 'ab'.repeat(8);
    const launchSpec = launchSpecOf({ type: 'c5.xlarge' });
    const { store, keys } = caller.options(launchSpec);
    const option = {
      type: 'c5.xlarge',
      subnet: 'subnet-0000000000000000a',
      zone: 'eu-west-1a',
      market: 'on-demand',
    } as const;
    const state = { v: 2, generation, at: Date.now(), n: 0, refused: [], kept: [], instances: [] } as const;
    const launchOptions = [{ ...option, placement: 'cluster' } as const, option];
    const journal = new LaunchJournal(store, keys, specHash(caller.owner, launchSpec, 2));
    await journal.write({ ...state, refused: [], kept: [], instances: [], launchOptions }, null);
    const Tags = [{ Key: TAG.managed, Value: 'true' }];
    const GroupName = `nx-ec2-${generation}`;
    await at.ec2.send(
      new CreatePlacementGroupCommand({
        GroupName,
        Strategy: 'cluster',
        TagSpecifications: [{ ResourceType: 'placement-group', Tags }],
      }),
    );
    expect((await up()).map(inGroup)).toEqual([false, false]);
    expect(caller.told).toMatch(/InvalidPlacementGroup\.Duplicate: The placement group nx-ec2-\w+ was not touched/);
  });

  it('takes the instance that replaces another one, which is outside of it if it has no capacity', async () => {
    at.aws.capacity.add({ zone: 'eu-west-1a' });
    const first = await up();
    at.aws.capacity.clear();
    end(first[0].id);
    const second = await up();
    const groupOf = ({ id }: EnsuredInstance) => at.aws.instances.get(id)!.placementGroup;
    expect(second.map(groupOf)).toEqual([groupOf(first[1]), groupOf(first[1])]);
    expect(second.map(({ zone }) => zone)).toEqual(['eu-west-1b', 'eu-west-1b']);
    end(first[1].id);
    at.aws.capacity.add({ zone: 'eu-west-1b', times: 1 });
    const third = await up();
    expect(third.map(inGroup).sort()).toEqual([false, true]);
    expect(third.map(({ zone }) => zone)).toEqual(['eu-west-1b', 'eu-west-1b']);
    expect((await up()).map(({ id }) => id).sort()).toEqual(third.map(({ id }) => id).sort());
    expect(await groups()).toHaveLength(1);
  });

  it('is deleted by a later launch if nothing is in it, and it is not of the last minutes', async () => {
    const tags = (await up())[0].tags;
    const old = { ...tags, [TAG.created]: String(Date.now() - HOUR_MS) };
    const create = (GroupName: string, of: Record<string, string>) =>
      at.ec2.send(
        new CreatePlacementGroupCommand({
          GroupName,
          Strategy: 'cluster',
          TagSpecifications: [
            { ResourceType: 'placement-group', Tags: Object.entries(of).map(([Key, Value]) => ({ Key, Value })) },
          ],
        }),
      );
    await create('nx-ec2-0000000000000000', old);
    await create('nx-ec2-0000000000000001', { ...old, [TAG.created]: String(Date.now()) });
    await create('nx-ec2-0000000000000002', { ...old, [TAG.project]: 'other' });
    await up({ volumeSize: '99GB' });
    const names = (await groups()).map(({ GroupName }) => GroupName!);
    expect(names).toHaveLength(4);
    expect(names).not.toContain('nx-ec2-0000000000000000');
  });
});
