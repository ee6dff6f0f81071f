import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TAG } from '../instance/made';
import { describeInstances, launchTagged } from '../instance/stop/tagged.fixture';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { bringDown, type DownWishes } from './bring-down';
import { checkInstance } from './check-instance';
import { Pipeline, startPipeline } from './pipeline.fixture';
import type { RunsSession } from './session';

const OTHER = 'arn:aws:iam::123456789012:user/bea';

describe('remote-down', () => {
  let at: Fixture;
  let pipe: Pipeline;
  let ours: Record<string, string>;
  beforeAll(async () => {
    at = await startPipeline();
    pipe = await new Pipeline(at, 'store').open();
    const owner = await pipe.session.owner();
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
  const down = async (instance: string, wishes: Partial<DownWishes> = {}) => {
    const { configuration } = pipe.session;
    const named = { ...configuration.instance, id: instance };
    const session = { ...pipe.session, configuration: { ...configuration, instance: named } } as RunsSession;
    return bringDown(session, await session.owner(), { stop: false, force: false, ...wishes });
  };

  it.each([
    ['a colleague', { [TAG.owner]: OTHER }],
    ['another project', { [TAG.project]: 'vision' }],
    ['another store', { [TAG.store]: 'bucket/other' }],
  ])(
    'leaves the instance of %s that is named, unless it is forced',
    async (_, tags) => {
      const id = await launchTagged(at, { ...ours, ...tags });
      await expect(down(id)).rejects.toMatchObject({ code: 'NOT_YOURS' });
      expect(await state(id)).toBe('running');
      expect(await down(id, { force: true })).toEqual([id]);
      expect(await state(id)).toBe('terminated');
    },
    60_000,
  );

  it('never terminates one that nx-ec2 did not launch, and stops it at the user’s word alone', async () => {
    const id = await launchTagged(at, { ...ours, [TAG.managed]: 'yes' });
    await expect(down(id, { force: true })).rejects.toMatchObject({ code: 'NOT_MADE' });
    expect(await state(id)).toBe('running');
    expect(await down(id, { stop: true })).toEqual([id]);
    expect(await state(id)).toBe('stopped');
  }, 60_000);

  it('asks the instance what runs there where the store can’t tell, since somebody has hidden a run', async () => {
    const id = await launchTagged(at, ours);
    const { store, keys } = pipe.session;
    const record = `${keys.run('20991231-235959-model-forged')}record.json`;
    let asked = 0;
    const there = (runs: string[]) => ({
      ...pipe.session,
      configuration: { ...pipe.session.configuration, instance: { ...pipe.session.configuration.instance, id } },
      at: () => ({ remote: { send: async () => ({ runs, n: asked++ }) } }),
    });
    const end = async (runs: string[], force = false) =>
      bringDown(there(runs) as never, await pipe.session.owner(), { stop: false, force });
    await store.put(record, Buffer.from('{}'));
    await expect(end(['20261128-000000-model-abcdef'])).rejects.toMatchObject({
      code: 'RUN_UNDER_WAY',
      message: expect.stringMatching(/20261128-000000-model-abcdef[^]*remote-down --force/),
    });
    expect(await state(id)).toBe('running');
    expect(asked).toBe(1);
    // What the store tells is enough where nobody has written what can't be read.
    await store.delete([record]);
    expect(await end(['20261128-000000-model-abcdef'])).toEqual([id]);
    expect(asked).toBe(1);
    expect(await state(id)).toBe('terminated');
  }, 60_000);

  describe('the policy, on an instance that a record names', () => {
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

    it('allows one by its id or name that the configuration does not name, and refuses any other', async () => {
      const id = await launchTagged(at, { Name: 'gpu-7' });
      await expect(checkInstance(pipe.session, id)).rejects.toMatchObject({ code: 'INSTANCE_NOT_ALLOWED' });
      for (const instances of [['gpu-*'], [id]]) {
        under({ instances });
        await checkInstance(pipe.session, id);
      }
      under({ instances: ['other'] });
      await expect(checkInstance(pipe.session, id)).rejects.toMatchObject({ code: 'POLICY' });
    });

    it('holds for one that nx-ec2 launched, by its type', async () => {
      const id = await launchTagged(at, ours);
      await checkInstance(pipe.session, id);
      under({ instances: ['other'] });
      await expect(checkInstance(pipe.session, id)).rejects.toMatchObject({ code: 'POLICY' });
      under({ instances: ['other'], instanceTypes: ['t3.*'] });
      await checkInstance(pipe.session, id);
    });
  });
});
