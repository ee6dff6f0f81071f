import { PutObjectCommand } from '@aws-sdk/client-s3';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TAG } from '../../instance/describe/ownership';
import { until } from '../../system/until.fixture';
import { Workshop } from '../lib/executor-harness.fixture';

// Node resolves the name of the built file.
jest.mock('./start-in-pool.js', () => jest.requireActual('./start-in-pool'), { virtual: true });

/** Notes when it starts and ends, and stays until the file `go` lies beside the notes, if it has the word `wait`. */
const TRAINING = `
import os, time
notes, word = NOTES, open("word").read()
def note(what):
    with open(os.path.join(notes, "turns"), "a") as file:
        file.write("%s %s %s\\n" % (what, word, time.time()))
note("start")
while "wait" in word and not os.path.exists(os.path.join(notes, "go " + word)):
    time.sleep(0.02)
time.sleep(0.3 if "slow" in word else 0)
os.makedirs("artifacts", exist_ok=True)
open("artifacts/m", "w").write(word)
note("end")
`;
const NAMES = ['a', 'b', 'c', 'd', 'e'];

interface Turn {
  what: 'start' | 'end';
  word: string;
  at: number;
}

describe('a pool', () => {
  let shop: Workshop;
  let pools = 0;
  let pool: string;
  beforeAll(async () => {
    shop = await Workshop.open(Object.fromEntries(NAMES.map((name) => [name, { root: name }])));
  });
  beforeEach(() => (pool = `pool-${++pools}`));
  afterEach(() => {
    for (const each of members()) shop.at.aws.instances.change(each, 'terminated');
  });
  afterAll(() => shop.close());

  const members = () =>
    shop.at.aws.instances
      .all()
      .filter(({ tags, state }) => tags[TAG.project] === `pool:${pool}` && state !== 'terminated');
  const turns = (): Turn[] => {
    const file = join(shop.memory, 'turns');
    if (!existsSync(file)) return [];
    return readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line.includes(` ${pool} `))
      .map((line) => {
        const [what, ...rest] = line.split(' ');
        return { what: what as Turn['what'], word: rest.slice(1, -1).join(' '), at: Number(rest.at(-1)) };
      });
  };
  const started = (word: string) => turns().some((turn) => turn.what === 'start' && turn.word === word);
  const go = (word: string) => writeFileSync(join(shop.memory, `go ${pool} ${word}`), '');
  const spec = (more: object = {}) => ({ type: 't3.micro', instanceProfile: 'training', pool, size: 2, ...more });
  const write = (project: string, word: string) => {
    shop.write(`${project}/train.py`, TRAINING.replace('NOTES', JSON.stringify(shop.memory)));
    shop.write(`${project}/word`, `${pool} ${word}`);
  };
  /** Trains, or submits. @param more options of the target; `instance` completes the launch spec. */
  const run = (
    target: string,
    project: string,
    word: string,
    { instance = {}, ...more }: { instance?: object } & Record<string, unknown> = {},
  ) => {
    write(project, word);
    return shop.run<{ run: string; instance: string }>(target, {
      project,
      instance: spec(instance),
      train: { script: 'train.py' },
      ...more,
    });
  };

  it('has one member for the runs of two projects, one after the other', async () => {
    const first = await run('remote-train', 'a', 'one');
    const second = await run('remote-train', 'b', 'two');
    expect(second.instance).toBe(first.instance);
    expect(members().map(({ id }) => id)).toEqual([first.instance]);
    expect(readFileSync(join(shop.workspace, 'b/artifacts/m'), 'utf8')).toBe(`${pool} two`);
    const status = await shop.run('remote-status', { project: 'a', instance: spec() });
    expect(status.pool).toEqual({
      name: pool,
      size: 2,
      members: [{ id: first.instance, type: 't3.micro', state: 'running', usable: true }],
    });
  });

  it('never has more members than its size, however many runs come at once, and one run at a time on each', async () => {
    const [first, second, ...others] = NAMES;
    await Promise.all([first, second].map((name) => run('remote-submit', name, `wait ${name}`)));
    // Each has a member of its own.
    await until(() => [first, second].every((name) => started(`wait ${name}`)));
    await Promise.all(others.map((name) => run('remote-submit', name, `slow ${name}`)));
    for (const name of [first, second]) go(`wait ${name}`);
    await until(() => turns().filter(({ what }) => what === 'end').length === NAMES.length);
    expect(members()).toHaveLength(2);
    let active = 0;
    for (const { what } of [...turns()].sort((one, other) => one.at - other.at)) {
      active += what === 'start' ? 1 : -1;
      expect(active).toBeLessThanOrEqual(2);
    }
  });

  it('gives waiting runs their turn by priority, whichever project they are of, and those of one as they came', async () => {
    const instance = { size: 1 };
    await run('remote-submit', 'a', 'wait', { instance });
    await until(() => started('wait'));
    for (const [project, priority] of Object.entries({ b: 0, c: 5, d: -5, e: 5 }))
      await run('remote-submit', project, `of ${project}`, { instance, priority });
    expect(shop.printed).toMatch(/has room \(1 of 1\): the run waits on i-\w+, behind 2 runs/);
    go('wait');
    await until(() => turns().filter(({ what }) => what === 'end').length === 5);
    const order = turns()
      .filter(({ what }) => what === 'start')
      .map(({ word }) => word);
    expect(order).toEqual(['wait', 'of c', 'of e', 'of b', 'of d']);
  });

  it('cancels a run that waits, and the next one gets its turn', async () => {
    const instance = { size: 1 };
    await run('remote-submit', 'a', 'wait', { instance });
    await until(() => started('wait'));
    const waits = await run('remote-submit', 'b', 'never', { instance });
    await run('remote-submit', 'c', 'next', { instance });
    await shop.run('remote-cancel', { project: 'b', instance: spec(instance), run: waits.run });
    go('wait');
    await until(() => started('next'));
    expect(started('never')).toBe(false);
  });

  it('ends the members that nothing runs on, and keeps the others', async () => {
    await run('remote-submit', 'a', 'wait');
    await until(() => started('wait'));
    const other = await run('remote-train', 'b', 'done');
    expect(members()).toHaveLength(2);
    const down = await shop.run<{ instances: string[] }>('remote-down', { project: 'c', instance: spec() });
    expect(down.instances).toEqual([other.instance]);
    expect(shop.printed).toMatch(/is kept: \S+ is active on it/);
    expect(members()).toHaveLength(1);
    go('wait');
    await until(() => turns().filter(({ what }) => what === 'end').length === 2);
    await shop.run('remote-down', { project: 'c', instance: spec(), force: true });
    expect(members()).toEqual([]);
    await shop.run('remote-down', { project: 'c', instance: spec() });
    expect(shop.printed).toMatch(
      new RegExp(`no instance to terminate or stop: EC2 lists no member of the pool ${pool} in eu-west-1 \\(.*:owner=`),
    );
  });

  it('counts members of another launch spec, and says so if they fill it', async () => {
    await run('remote-train', 'a', 'small', { instance: { size: 1 } });
    await expect(run('remote-train', 'b', 'large', { instance: { size: 1, type: 't3.large' } })).rejects.toThrow(
      /POOL_FULL.*1 was launched with another launch spec.*t3\.micro/s,
    );
    expect(members()).toHaveLength(1);
  });

  it('has no more members than its size if commands with different launch specs launch them at once', async () => {
    const types = ['t3.micro', 't3.medium'];
    const started = await Promise.allSettled(
      types.map((type, n) => run('remote-submit', NAMES[n], type, { instance: { size: 1, type } })),
    );
    expect(started.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(members()).toHaveLength(1);
    const refused = started.find(({ status }) => status === 'rejected') as PromiseRejectedResult;
    expect((refused.reason as Error).message).toMatch(/POOL_FULL.*1 (is about to be|was) launched with another/s);
  });

  it('ends a member without an idle timeout if no run starts there, and says what ends members', async () => {
    const instance = { size: 1, idleTimeout: false };
    const { instance: id } = await run('remote-train', 'a', 'first', { instance });
    const config = join(shop.at.aws.instances.disk(id), 'root/watchdog/config.json');
    expect(JSON.parse(readFileSync(config, 'utf8'))).toMatchObject({ idle: null, start: 900, finish: null });
    await expect(run('remote-train', 'b', 'large', { instance: { ...instance, type: 't3.large' } })).rejects.toThrow(
      /POOL_FULL.*no run starts ends after 15m 00s.*maximum lifetime \(24h 00m\).*run b:remote-down --bucket=bucket --instance.type=t3.large .*--instance.pool=pool-\d+ --instance.size=1 --instance.idleTimeout=false\\n/s,
    );
  });

  it.each([
    ['EC2 has no capacity', () => shop.at.aws.capacity.add({ type: 't3.micro' }), /no capacity/],
    [
      'the quota is used up',
      () =>
        shop.at.aws.faults.add({
          service: 'ec2',
          action: 'RunInstances',
          error: { code: 'VcpuLimitExceeded', status: 400 },
        }),
      /VcpuLimitExceeded/,
    ],
  ])('waits on a member if %s for another', async (_what, refuse, says) => {
    await run('remote-submit', 'a', 'wait');
    await until(() => started('wait'));
    refuse();
    try {
      const second = await run('remote-submit', 'b', 'second');
      expect(second.instance).toBe(members()[0].id);
      expect(shop.printed).toMatch(says);
    } finally {
      shop.at.aws.capacity.clear();
      shop.at.aws.faults.clear();
    }
    go('wait');
    await until(() => started('second'));
  });

  describe('whose reservations are forged', () => {
    /** Fills the first slots with members that train, terminates some, and writes reservations of their slots that no command has made. */
    const fill = async (size: number, ends: (slot: number) => boolean) => {
      const ended: { slot: number; key: string }[] = [];
      for (const [slot, project] of NAMES.slice(0, size).entries()) {
        const { instance } = await run('remote-submit', project, `wait ${project}`, { instance: { size } });
        await until(() => started(`wait ${project}`));
        const member = members().find(({ id }) => id === instance)!;
        if (!ends(slot)) continue;
        ended.push({ slot, key: member.tags[TAG.key] });
        shop.at.aws.instances.change(member, 'terminated');
      }
      const free = { exclusive: false, gpus: 0, priority: -100, at: Date.now() };
      const reservations = ended.map((each, n) => ({ run: `20261201-00000${n}-x-aaaaaa`, ...each, ...free }));
      const Key = `v2/projects/pool%3A${pool}/reservations`;
      const Body = JSON.stringify({ v: 1, reservations });
      await shop.at.s3.send(new PutObjectCommand({ Bucket: 'bucket', Key, Body }));
    };

    it('has no more members than its size, although they name slots of a larger one', async () => {
      await fill(3, (slot) => slot === 2);
      const before = members();
      expect(before).toHaveLength(2);
      const { instance } = await run('remote-submit', 'd', 'of d');
      expect(before.map(({ id }) => id)).toContain(instance);
      expect(members()).toHaveLength(2);
    });

    it('has a run wait on a member that exists if EC2 has no capacity for one that they name', async () => {
      await fill(2, (slot) => slot === 1);
      shop.at.aws.capacity.add({ type: 't3.micro' });
      try {
        const { instance } = await run('remote-submit', 'd', 'of d');
        expect(instance).toBe(members()[0].id);
      } finally {
        shop.at.aws.capacity.clear();
      }
    });
  });
});
