import { PutObjectCommand } from '@aws-sdk/client-s3';
import { Aws } from '../../aws/clients';
import { startFixture, type Fixture } from '../../local-aws/local-aws.fixture';
import { Store } from '../../store/store';
import type { Claim } from './place';
import { PoolReservations, RESERVATION, type HeldReservation } from './reservations';

const KEY = 'team/v2/projects/pool%3Ap/reservations/0';

describe('the reservations of a pool', () => {
  let at: Fixture;
  let aws: Aws;
  let now = 1_000_000;
  const before = { ...process.env };
  const held: HeldReservation[] = [];
  beforeAll(async () => {
    at = await startFixture({ instances: [] });
    Object.assign(process.env, at.aws.environment);
    aws = new Aws({});
  });
  afterEach(async () => {
    for (const each of held.splice(0)) await each.release();
    expect((await reservations().read()).all).toEqual([]);
  });
  afterAll(async () => {
    aws.close();
    process.env = before;
    await at.close();
  });

  const reservations = () => new PoolReservations(new Store(aws, { bucket: 'bucket' }), KEY, async () => now);
  const claim = (n: number): Claim => ({
    run: `20261130-10000${n}-p-abcdef`,
    exclusive: true,
    gpus: 0,
    priority: n,
  });
  const add = async (n: number, slot = n) => {
    const own = reservations();
    const added = await own.add(claim(n), { slot, key: `key-${slot}` }, await own.read());
    if (added) held.push(added);
    return added;
  };
  const slots = async () => (await reservations().read()).all.map(({ run, slot }) => [run, slot]);

  it('are those of all commands, until each releases its own', async () => {
    const first = await add(1);
    await add(2);
    expect(await slots()).toEqual([
      [claim(1).run, 1],
      [claim(2).run, 2],
    ]);
    await first!.release();
    expect(await slots()).toEqual([[claim(2).run, 2]]);
  });

  it('let a run wait for those before it on the same member, and for no others', async () => {
    const signal = new AbortController().signal;
    const first = (await add(1, 0))!;
    const priority = (await add(3, 0))!;
    const other = (await add(4, 1))!;
    const order: string[] = [];
    const start = async (name: string, held: HeldReservation) => {
      await held.waitForEarlier(signal);
      order.push(name);
      await held.release();
    };
    // Its own member has none before it.
    await start('other', other);
    await Promise.all([start('first', first), start('priority', priority)]);
    expect(order).toEqual(['other', 'priority', 'first']);
  });

  it('are added by one of several commands that have read the same', async () => {
    const own = reservations();
    const read = await own.read();
    const added = await Promise.all([1, 2, 3, 4].map((n) => own.add(claim(n), { slot: 0, key: 'key-0' }, read)));
    held.push(...added.filter((each) => each !== null));
    expect(held).toHaveLength(1);
    expect(await slots()).toHaveLength(1);
  });

  it('all go, however many commands release theirs at once', async () => {
    for (const n of [1, 2, 3, 4, 5]) await add(n);
    await Promise.all(held.map((each) => each.release()));
    expect(await slots()).toEqual([]);
  });

  it('do not count if they were not renewed, as of a command that was killed, or are of the future', async () => {
    await add(1);
    now += RESERVATION.lifetime;
    expect(await slots()).toEqual([]);
    now -= 2 * RESERVATION.lifetime;
    expect(await slots()).toEqual([]);
    now += RESERVATION.lifetime;
    expect(await slots()).toHaveLength(1);
  });

  it.each([
    ['no JSON', '{'],
    ['another version', '{"v":2,"reservations":[]}'],
    ['wrong values', '{"v":1,"reservations":[{"run":"../x","slot":-1}]}'],
    ['too much', 'x'.repeat(600 * 1024)],
  ])('are none in an object of %s, which is written over', async (_what, Body) => {
    await at.s3.send(new PutObjectCommand({ Bucket: 'bucket', Key: KEY, Body }));
    expect(await slots()).toEqual([]);
    expect(await add(1)).not.toBeNull();
    expect(await slots()).toHaveLength(1);
  });
});
