import { Remote } from '../../command/remote';
import { MOVE } from '../../run/pool/move-waiting';
import { until } from '../../system/until.fixture';
import { PoolShop } from './pool.fixture';

// Node resolves the name of the built file.
jest.mock('./start-in-pool.js', () => jest.requireActual('./start-in-pool'), { virtual: true });

const NAMES = ['a', 'b', 'c', 'd', 'e'];

describe('a run that waits in a pool', () => {
  const before = { ...MOVE };
  let at: PoolShop;
  beforeAll(async () => {
    at = await PoolShop.open('move', NAMES, {});
    Object.assign(MOVE, { first: 200, poll: 400 });
  });
  beforeEach(() => at.begin());
  afterEach(() => at.end());
  afterAll(async () => {
    Object.assign(MOVE, before);
    await at.close();
  });

  /** Trainings on both members, and their instances. */
  const fill = async () => {
    const ids: string[] = [];
    for (const name of ['a', 'b']) {
      const { instance } = await at.run('remote-submit', name, `wait ${name}`);
      ids.push(instance);
      await until(() => at.started(`wait ${name}`));
    }
    expect(new Set(ids).size).toBe(2);
    return ids;
  };
  /** Waits until the run of a project waits on a member, with a client that follows it. @returns that member. */
  const waits = async (): Promise<string> => {
    await at.shop.says(/the run waits on i-\w+/);
    return /the run waits on (i-\w+)/.exec(at.shop.printed)![1];
  };

  it('moves to the member that becomes free first, and trains once', async () => {
    const ids = await fill();
    const training = at.run('remote-train', 'c', 'of c');
    const member = await waits();
    const [other] = ids.filter((id) => id !== member);
    at.go(`wait ${NAMES[ids.indexOf(other)]}`);
    expect(await training).toMatchObject({ instance: other, attempts: 2 });
    expect(at.shop.printed).toMatch(new RegExp(`${other}, of the pool ${at.pool}, has room for \\S+: moving it there`));
    at.go(`wait ${NAMES[ids.indexOf(member)]}`);
    await until(() => at.turns().filter(({ what }) => what === 'end').length === 3);
    expect(at.told().filter((turn) => turn.includes('of c'))).toEqual(['start anew of c 2', 'end of c 2']);
    expect(at.members()).toHaveLength(2);
  });

  it('is started once by two commands that follow it', async () => {
    const ids = await fill();
    const first = at.run('remote-train', 'c', 'of c');
    const member = await waits();
    const second = at.run('remote-train', 'c', 'of c');
    await at.shop.says(/Attached|already/);
    const [other] = ids.filter((id) => id !== member);
    at.go(`wait ${NAMES[ids.indexOf(other)]}`);
    const [one, two] = await Promise.all([first, second]);
    expect(one.run).toBe(two.run);
    for (const each of [one, two]) expect(each).toMatchObject({ instance: other, attempts: 2 });
    expect(at.told().filter((turn) => turn.includes('of c'))).toEqual(['start anew of c 2', 'end of c 2']);
  });

  it('does not move before those that come before it', async () => {
    const ids = await fill();
    // Waits where it alone is the next one, so that the others wait on the other member.
    const next = await at.run('remote-submit', 'e', 'of e', { priority: 9 });
    const low = at.run('remote-train', 'c', 'of c');
    const member = await waits();
    expect(member).not.toBe(next.instance);
    const high = at.run('remote-train', 'd', 'wait d', { priority: 5 });
    expect(await waits()).toBe(member);
    at.go(`wait ${NAMES[ids.indexOf(next.instance)]}`);
    await until(() => at.started('wait d'));
    at.go(`wait ${NAMES[ids.indexOf(member)]}`);
    expect(await low).toMatchObject({ instance: member, attempts: 1 });
    at.go('wait d');
    expect(await high).toMatchObject({ instance: next.instance, attempts: 2 });
  });

  describe('and is cancelled by another command while it moves', () => {
    it.each([
      ['before it is held', 'hold', 'before'],
      ['while it is held', 'hold', 'after'],
      ['when it was sent to the other member', 'train', 'after'],
    ])('%s', async (_when, op, moment) => {
      const ids = await fill();
      const training = at.run('remote-train', 'c', 'wait c');
      training.catch(() => undefined);
      const member = await waits();
      let cancelled: Promise<unknown> | undefined;
      const send = Remote.prototype.sendEach;
      const spy = jest.spyOn(Remote.prototype, 'sendEach').mockImplementation(async function (this: Remote, ...args) {
        const isMove = args[1].op !== 'train' || Boolean(args[1].run.nextAttempt?.waiting);
        const isIt = args[1].op === op && isMove && !cancelled;
        const cancel = () => (cancelled = at.shop.run('remote-cancel', { project: 'c', instance: at.spec() }));
        if (isIt && moment === 'before') await cancel();
        const reply = await send.apply(this, args);
        if (isIt && moment === 'after') await Promise.race([cancel(), until(() => at.shop.printed.includes('Asked'))]);
        return reply as Awaited<ReturnType<typeof send<never>>>;
      });
      try {
        at.go(`wait ${NAMES[ids.findIndex((id) => id !== member)]}`);
        await expect(training).rejects.toThrow(/cancelled/);
        await cancelled;
      } finally {
        spy.mockRestore();
      }
      expect(at.told().some((turn) => turn.startsWith('end of c') || turn.startsWith('end wait c'))).toBe(false);
      at.go('wait c');
      const { runs } = await at.shop.run<{ runs: { outcome: string; project: string }[] }>('remote-status', {
        project: 'c',
        instance: at.spec(),
      });
      expect(runs[0].outcome).toBe('cancelled');
    });
  });
});
