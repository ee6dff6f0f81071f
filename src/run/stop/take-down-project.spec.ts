import { Problem } from '../../report/problem';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TAG } from '../../instance/describe/ownership';
import { launchSpecOf } from '../../instance/launch/ensure-instance.fixture';
import { describeInstances, fleetTagged, launchTagged } from '../../instance/stop/tagged.fixture';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { takeDownProject, type TakeDownOptions } from './take-down-project';
import { checkInstance } from '../../context/check-instance';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import { newRunId } from '../record/run-id';
import type { RunContext } from '../../context/types';

const OTHER = 'arn:aws:iam::123456789012:user/bea';

describe('remote-down', () => {
  let at: Fixture;
  let pipe: Pipeline;
  let ours: Record<string, string>;
  beforeAll(async () => {
    at = await startPipeline();
    pipe = await new Pipeline(at, 'store').open();
    const owner = await pipe.context.owner();
    ours = {
      [TAG.managed]: 'true',
      [TAG.workspace]: owner.workspace,
      [TAG.project]: owner.project,
      [TAG.owner]: owner.caller,
      [TAG.store]: 'bucket/',
    };
  });
  afterAll(async () => {
    pipe.close();
    await at.close();
  });

  const state = async (id: string) => (await describeInstances(at, id))[0].state;
  const down = async (instance: string, options: Partial<TakeDownOptions> = {}) => {
    const { configuration } = pipe.context;
    const named = { ...configuration.instance, id: instance };
    const context = { ...pipe.context, configuration: { ...configuration, instance: named } } as RunContext;
    return takeDownProject(context, await context.owner(), { stop: false, force: false, ...options });
  };

  it.each([
    ['a colleague', { [TAG.owner]: OTHER }],
    ['another project', { [TAG.project]: 'vision' }],
    ['another store', { [TAG.store]: 'bucket/other' }],
    ['another workspace', { [TAG.workspace]: 'elsewhere' }],
    ["a colleague's other workspace", { [TAG.workspace]: 'elsewhere', [TAG.owner]: OTHER }],
  ])('does not terminate a named instance of %s, unless forced, and names each tag that differs', async (_, tags) => {
    const id = await launchTagged(at, { ...ours, ...tags });
    const failure = (await down(id).catch((error: unknown) => error)) as Problem;
    expect(failure).toMatchObject({ code: 'NOT_OWNER', next: 'To take it down anyway, add --force.' });
    const named = [...failure.message.matchAll(/(nx-ec2:\w+) is "([^"]*)", and must be "([^"]*)"/g)];
    expect(named.map(([, tag, value, expected]) => [tag, value, expected]).sort()).toEqual(
      Object.entries(tags)
        .map(([tag, value]) => [tag, value, ours[tag]])
        .sort(),
    );
    expect(await state(id)).toBe('running');
    expect(await down(id, { force: true })).toEqual([id]);
    expect(await state(id)).toBe('terminated');
  });

  it('never terminates an instance that nx-ec2 did not launch, and stops it only with --stop', async () => {
    const id = await launchTagged(at, { ...ours, [TAG.managed]: 'yes' });
    await expect(down(id, { force: true })).rejects.toMatchObject({ code: 'NOT_MANAGED' });
    expect(await state(id)).toBe('running');
    pipe.context.allow([id]);
    expect(await down(id, { stop: true })).toEqual([id]);
    expect(await state(id)).toBe('stopped');
  });

  it('terminates the other instances if the fleet belongs to another store, which is kept', async () => {
    const run = newRunId('model', new Date());
    const id = await launchTagged(at, ours);
    const fleet = await fleetTagged(at, `nx-ec2-${run}`, { ...ours, [TAG.run]: run, [TAG.store]: 'bucket/other' });
    const { configuration } = pipe.context;
    const instance = { launchSpec: launchSpecOf({}), startupTimeout: configuration.instance.startupTimeout };
    const context: RunContext = { ...pipe.context, configuration: { ...configuration, instance } };
    const options = { stop: false, force: true };
    expect(await takeDownProject(context, await context.owner(), options)).toEqual([id]);
    expect(await state(id)).toBe('terminated');
    expect(at.aws.left().fleets).toEqual([fleet]);
    expect(pipe.said.join('\n')).toMatch(`The fleet ${fleet} was not touched: its tag nx-ec2:store is "bucket/other"`);
  });

  it('says that a fleet is tagged with a run that has no record, and deletes it if forced', async () => {
    const run = newRunId('model', new Date());
    const fleet = await fleetTagged(at, `nx-ec2-${run}`, { ...ours, [TAG.run]: run });
    const of = at.aws.instances.all().filter((each) => each.fleet === fleet);
    for (const { tags } of of) tags[TAG.run] = newRunId('model', new Date());
    const { configuration } = pipe.context;
    const instance = { launchSpec: launchSpecOf({}), startupTimeout: configuration.instance.startupTimeout };
    const context: RunContext = { ...pipe.context, configuration: { ...configuration, instance } };
    const owner = await context.owner();
    await expect(takeDownProject(context, owner, { stop: false, force: false })).rejects.toMatchObject({
      code: 'RUN_ACTIVE',
      message: expect.stringContaining(`${run} has a fleet, and neither an instance nor a record here`),
      next: expect.stringContaining('add --force'),
    });
    expect(at.aws.left().fleets).toContain(fleet);
    await takeDownProject(context, owner, { stop: false, force: true });
    expect(at.aws.left().fleets).not.toContain(fleet);
  });

  it('ends the other instances, and fails, if the fleet of one instance is kept', async () => {
    const [matching, foreign] = [newRunId('model', new Date()), newRunId('model', new Date())];
    const own = await fleetTagged(at, `nx-ec2-${matching}`, { ...ours, [TAG.run]: matching });
    const others = { ...ours, [TAG.run]: foreign, [TAG.project]: 'vision' };
    const other = await fleetTagged(at, `nx-ec2-${foreign}`, others);
    // A second fleet of the run that matches, which does not.
    const second = await fleetTagged(at, 'second', { ...others, [TAG.run]: matching });
    const plain = await launchTagged(at, ours);
    const of = (fleet: string) => at.aws.instances.all().find((each) => each.fleet === fleet)!;
    for (const [fleet, run] of [
      [own, matching],
      [other, foreign],
    ])
      Object.assign(of(fleet).tags, { ...ours, [TAG.run]: run });
    const ids = [of(own).id, of(other).id];
    const { configuration } = pipe.context;
    const instance = { launchSpec: launchSpecOf({}), startupTimeout: configuration.instance.startupTimeout };
    const context: RunContext = { ...pipe.context, configuration: { ...configuration, instance } };
    const said = pipe.said.length;
    await expect(takeDownProject(context, await context.owner(), { stop: false, force: true })).rejects.toMatchObject({
      code: 'NOT_OWNER',
      message: expect.stringContaining(`The fleet ${other} was not touched: its tag nx-ec2:project is "vision"`),
    });
    expect([await state(plain), await state(ids[0]), await state(ids[1])]).toEqual([
      'terminated',
      'terminated',
      'running',
    ]);
    const { fleets } = at.aws.left();
    expect(fleets).not.toContain(own);
    expect(fleets).toEqual(expect.arrayContaining([other, second]));
    const lines = pipe.said.slice(said).join('\n');
    expect(lines).toMatch(`${ids[1]} was not touched: its fleet could not be deleted and would replace it.`);
    expect(lines).toMatch(`The fleet ${second} was not touched`);
  });

  it('asks the instance for active runs, since somebody may have hidden a run in the store', async () => {
    const id = await launchTagged(at, ours);
    const { store, keys } = pipe.context;
    const record = `${keys.run('20991231-235959-model-forged')}record.json`;
    let asked = 0;
    const there = (answer: string[] | Error) => ({
      ...pipe.context,
      configuration: { ...pipe.context.configuration, instance: { ...pipe.context.configuration.instance, id } },
      at: () => ({
        remote: {
          send: async () => {
            asked++;
            if (answer instanceof Error) throw answer;
            return { runs: answer };
          },
        },
      }),
    });
    const end = async (answer: string[] | Error) =>
      takeDownProject(there(answer) as never, await pipe.context.owner(), { stop: false, force: false });
    await store.put(record, Buffer.from('{}'));
    await expect(end(['20261128-000000-model-abcdef'])).rejects.toMatchObject({
      code: 'RUN_ACTIVE',
      message: expect.stringMatching(/20261128-000000-model-abcdef[^]*remote-down --force/),
    });
    expect(await state(id)).toBe('running');
    expect(asked).toBe(1);
    await store.delete([record]);
    await expect(end(['20261128-000000-model-abcdef'])).rejects.toMatchObject({ code: 'RUN_ACTIVE' });
    expect(asked).toBe(2);
    // Other commands keep it busy.
    await expect(end(new Problem('COMMAND_SEND', 'throttled'))).rejects.toMatchObject({
      code: 'RUN_ACTIVE',
      message: expect.stringMatching(/did not report whether a run is active on it[^]*remote-down --force/),
    });
    expect(await state(id)).toBe('running');
    expect(await end(new Problem('INSTANCE_OFFLINE', 'its agent is not connected'))).toEqual([id]);
    expect(await state(id)).toBe('terminated');
  });

  describe('the policy, for an instance that a run record names,', () => {
    const home = mkdtempSync(join(tmpdir(), 'nx-ec2-policy-'));
    const before = process.env.NX_EC2_POLICY;
    afterEach(() => {
      if (before === undefined) delete process.env.NX_EC2_POLICY;
      else process.env.NX_EC2_POLICY = before;
    });
    afterAll(() => rmSync(home, { recursive: true, force: true }));
    const under = (policy: object) => {
      process.env.NX_EC2_POLICY = join(home, 'policy.json');
      writeFileSync(process.env.NX_EC2_POLICY, JSON.stringify(policy));
    };

    it('allows an instance by its id or name that the configuration does not name, and refuses any other', async () => {
      const id = await launchTagged(at, { Name: 'gpu-7' });
      await expect(checkInstance(pipe.context, id)).rejects.toMatchObject({ code: 'INSTANCE_NOT_ALLOWED' });
      for (const instances of [['gpu-*'], [id]]) {
        under({ instances });
        await checkInstance(pipe.context, id);
      }
      under({ instances: ['other'] });
      await expect(checkInstance(pipe.context, id)).rejects.toMatchObject({ code: 'POLICY' });
    });

    it('applies to the type of an instance that nx-ec2 launched', async () => {
      const id = await launchTagged(at, ours);
      await checkInstance(pipe.context, id);
      under({ instances: ['other'] });
      await expect(checkInstance(pipe.context, id)).rejects.toMatchObject({ code: 'POLICY' });
      under({ instances: ['other'], instanceTypes: ['t3.*'] });
      await checkInstance(pipe.context, id);
    });
  });
});
