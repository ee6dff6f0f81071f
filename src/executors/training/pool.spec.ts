import { PutObjectCommand } from '@aws-sdk/client-s3';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TAG } from '../../instance/describe/ownership';
import { until } from '../../system/until.fixture';
import { PoolShop } from './pool.fixture';

// Node resolves the name of the built file.
jest.mock('./start-in-pool.js', () => jest.requireActual('./start-in-pool'), { virtual: true });

const NAMES = ['a', 'b', 'c', 'd', 'e'];

describe('a pool', () => {
  let at: PoolShop;
  beforeAll(async () => {
    at = await PoolShop.open('pool', NAMES, {});
  });
  beforeEach(() => at.begin());
  afterEach(() => at.end());
  afterAll(() => at.close());

  it('has one member for the runs of two projects, one after the other', async () => {
    const first = await at.run('remote-train', 'a', 'one');
    const second = await at.run('remote-train', 'b', 'two');
    expect(second.instance).toBe(first.instance);
    expect(at.members().map(({ id }) => id)).toEqual([first.instance]);
    expect(readFileSync(join(at.shop.workspace, 'b/artifacts/m'), 'utf8')).toBe(`${at.pool} two`);
    const status = await at.shop.run('remote-status', { project: 'a', instance: at.spec() });
    expect(status.pool).toEqual({
      name: at.pool,
      size: 2,
      members: [{ id: first.instance, type: 't3.micro', state: 'running', usable: true }],
    });
  });

  it('never has more members than its size, however many runs come at once, and one run at a time on each', async () => {
    const [first, second, ...others] = NAMES;
    await Promise.all([first, second].map((name) => at.run('remote-submit', name, `wait ${name}`)));
    // Each has a member of its own.
    await until(() => [first, second].every((name) => at.started(`wait ${name}`)));
    await Promise.all(others.map((name) => at.run('remote-submit', name, `slow ${name}`)));
    for (const name of [first, second]) at.go(`wait ${name}`);
    await until(() => at.turns().filter(({ what }) => what === 'end').length === NAMES.length);
    expect(at.members()).toHaveLength(2);
    let active = 0;
    for (const { what } of [...at.turns()].sort((one, other) => one.at - other.at)) {
      active += what === 'start' ? 1 : -1;
      expect(active).toBeLessThanOrEqual(2);
    }
  });

  it('gives waiting runs their turn by priority, whichever project they are of, and those of one as they came', async () => {
    const instance = { size: 1 };
    await at.run('remote-submit', 'a', 'wait', { instance });
    await until(() => at.started('wait'));
    for (const [project, priority] of Object.entries({ b: 0, c: 5, d: -5, e: 5 }))
      await at.run('remote-submit', project, `of ${project}`, { instance, priority });
    expect(at.shop.printed).toMatch(/has room \(1 of 1\): the run waits on i-\w+, behind 2 runs/);
    at.go('wait');
    await until(() => at.turns().filter(({ what }) => what === 'end').length === 5);
    const order = at
      .turns()
      .filter(({ what }) => what === 'start')
      .map(({ word }) => word);
    expect(order).toEqual(['wait', 'of c', 'of e', 'of b', 'of d']);
  });

  it('cancels a run that waits, and the next one gets its turn', async () => {
    const instance = { size: 1 };
    await at.run('remote-submit', 'a', 'wait', { instance });
    await until(() => at.started('wait'));
    const waits = await at.run('remote-submit', 'b', 'never', { instance });
    await at.run('remote-submit', 'c', 'next', { instance });
    await at.shop.run('remote-cancel', { project: 'b', instance: at.spec(instance), run: waits.run });
    at.go('wait');
    await until(() => at.started('next'));
    expect(at.started('never')).toBe(false);
  });

  it('ends the members that nothing runs on, and keeps the others', async () => {
    await at.run('remote-submit', 'a', 'wait');
    await until(() => at.started('wait'));
    const other = await at.run('remote-train', 'b', 'done');
    expect(at.members()).toHaveLength(2);
    const down = await at.shop.run<{ instances: string[] }>('remote-down', { project: 'c', instance: at.spec() });
    expect(down.instances).toEqual([other.instance]);
    expect(at.shop.printed).toMatch(/is kept: \S+ is active on it/);
    expect(at.members()).toHaveLength(1);
    at.go('wait');
    await until(() => at.turns().filter(({ what }) => what === 'end').length === 2);
    await at.shop.run('remote-down', { project: 'c', instance: at.spec(), force: true });
    expect(at.members()).toEqual([]);
    await at.shop.run('remote-down', { project: 'c', instance: at.spec() });
    expect(at.shop.printed).toMatch(
      new RegExp(
        `no instance to terminate or stop: EC2 lists no member of the pool ${at.pool} in eu-west-1 \\(.*:owner=`,
      ),
    );
  });

  it('counts members of another launch spec, and says so if they fill it', async () => {
    await at.run('remote-train', 'a', 'small', { instance: { size: 1 } });
    await expect(at.run('remote-train', 'b', 'large', { instance: { size: 1, type: 't3.large' } })).rejects.toThrow(
      /POOL_FULL.*1 was launched with another launch spec.*t3\.micro/s,
    );
    expect(at.members()).toHaveLength(1);
  });

  it('has no more members than its size if commands with different launch specs launch them at once', async () => {
    const types = ['t3.micro', 't3.medium'];
    const started = await Promise.allSettled(
      types.map((type, n) => at.run('remote-submit', NAMES[n], type, { instance: { size: 1, type } })),
    );
    expect(started.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(at.members()).toHaveLength(1);
    const refused = started.find(({ status }) => status === 'rejected') as PromiseRejectedResult;
    expect((refused.reason as Error).message).toMatch(/POOL_FULL.*1 (is about to be|was) launched with another/s);
  });

  it('ends a member without an idle timeout if no run starts there, and says what ends members', async () => {
    const instance = { size: 1, idleTimeout: false };
    const { instance: id } = await at.run('remote-train', 'a', 'first', { instance });
    const config = join(at.shop.at.aws.instances.disk(id), 'root/watchdog/config.json');
    expect(JSON.parse(readFileSync(config, 'utf8'))).toMatchObject({ idle: null, start: 900, finish: null });
    await expect(at.run('remote-train', 'b', 'large', { instance: { ...instance, type: 't3.large' } })).rejects.toThrow(
      /POOL_FULL.*no run starts ends after 15m 00s.*maximum lifetime \(24h 00m\).*run b:remote-down --bucket=bucket --instance.type=t3.large .*--instance.pool=pool-\d+ --instance.size=1 --instance.idleTimeout=false\\n/s,
    );
  });

  it.each([
    ['EC2 has no capacity', () => at.shop.at.aws.capacity.add({ type: 't3.micro' }), /no capacity/],
    [
      'the quota is used up',
      () =>
        at.shop.at.aws.faults.add({
          service: 'ec2',
          action: 'RunInstances',
          error: { code: 'VcpuLimitExceeded', status: 400 },
        }),
      /VcpuLimitExceeded/,
    ],
  ])('waits on a member if %s for another', async (_what, refuse, says) => {
    await at.run('remote-submit', 'a', 'wait');
    await until(() => at.started('wait'));
    refuse();
    try {
      const second = await at.run('remote-submit', 'b', 'second');
      expect(second.instance).toBe(at.members()[0].id);
      expect(at.shop.printed).toMatch(says);
    } finally {
      at.shop.at.aws.capacity.clear();
      at.shop.at.aws.faults.clear();
    }
    at.go('wait');
    await until(() => at.started('second'));
  });

  describe('whose reservations are forged', () => {
    /** Fills the first slots with members that train, terminates some, and writes reservations of their slots that no command has made. */
    const fill = async (size: number, ends: (slot: number) => boolean) => {
      const ended: { slot: number; key: string }[] = [];
      for (const [slot, project] of NAMES.slice(0, size).entries()) {
        const { instance } = await at.run('remote-submit', project, `wait ${project}`, { instance: { size } });
        await until(() => at.started(`wait ${project}`));
        const member = at.members().find(({ id }) => id === instance)!;
        if (!ends(slot)) continue;
        ended.push({ slot, key: member.tags[TAG.key] });
        at.shop.at.aws.instances.change(member, 'terminated');
      }
      const free = { exclusive: false, gpus: 0, priority: -100, at: Date.now() };
      const reservations = ended.map((each, n) => ({ run: `20261201-00000${n}-x-aaaaaa`, ...each, ...free }));
      const Key = `v2/projects/pool%3A${at.pool}/reservations`;
      const Body = JSON.stringify({ v: 1, reservations });
      await at.shop.at.s3.send(new PutObjectCommand({ Bucket: 'bucket', Key, Body }));
    };

    it('has no more members than its size, although they name slots of a larger one', async () => {
      await fill(3, (slot) => slot === 2);
      const before = at.members();
      expect(before).toHaveLength(2);
      const { instance } = await at.run('remote-submit', 'd', 'of d');
      expect(before.map(({ id }) => id)).toContain(instance);
      expect(at.members()).toHaveLength(2);
    });

    it('has a run wait on a member that exists if EC2 has no capacity for one that they name', async () => {
      await fill(2, (slot) => slot === 1);
      at.shop.at.aws.capacity.add({ type: 't3.micro' });
      try {
        const { instance } = await at.run('remote-submit', 'd', 'of d');
        expect(instance).toBe(at.members()[0].id);
      } finally {
        at.shop.at.aws.capacity.clear();
      }
    });
  });
});
