import type { Readable } from 'node:stream';
import { Aws } from '../../aws/clients';
import type { Input, OperationName } from '../../aws/direct/operations';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { startPipeline } from '../../run/pipeline.fixture';
import { ensureInstances, type EnsuredInstance } from './ensure-instance';
import { Caller, CALLER, clear, launchSpecOf } from './ensure-instance.fixture';
import { TAG } from '../describe/ownership';
import { findExpired } from '../inventory/expired';
import { takeInventory, type Inventory } from '../inventory/inventory';
import { terminateExpired } from '../stop/terminate-expired';
import type { EnsureOptions } from './options';

/** A process that is killed before it sends its nth request, or when that was answered. */
class MortalAws extends Aws {
  sent = 0;
  private dead = false;

  constructor(
    private readonly last: number,
    private readonly when: 'before' | 'after',
  ) {
    super({});
  }

  override ec2 = async () => this.mortal(await super.ec2());
  override ec2Once = async () => this.mortal(await super.ec2Once());
  override ssm = async () => this.mortal(await super.ssm());
  override s3 = async () => this.mortal(await super.s3());
  override call = <K extends OperationName>(name: K, input: Input<K>, signal?: AbortSignal) =>
    this.request(() => super.call(name, input, signal));

  private readonly known = new WeakSet<object>();

  private mortal<Client extends { middlewareStack: { add: unknown } }>(client: Client): Client {
    if (this.known.has(client)) return client;
    this.known.add(client);
    const add = client.middlewareStack.add as (middleware: unknown, how: object) => void;
    const middleware = (next: (args: unknown) => Promise<unknown>) => (args: unknown) => this.request(() => next(args));
    add.call(client.middlewareStack, middleware, { step: 'initialize' });
    return client;
  }

  private async request<T>(send: () => Promise<T>): Promise<T> {
    const n = ++this.sent;
    this.die(n === this.last && this.when === 'before');
    const answer = await send();
    // Nobody reads it any more: its time-out would end it half an hour later, as an error that nobody expects.
    if (this.dead || n === this.last) (answer as { Body?: Partial<Readable> }).Body?.destroy?.();
    this.die(n === this.last);
    return answer;
  }

  private die(now: boolean): void {
    this.dead ||= now;
    if (this.dead) throw new Error('killed');
  }
}

/** Instances stay pending: no process of theirs runs, and none is needed. */
const NEVER = 3_600_000;

let project = 0;

describe.each([
  ['one instance', 1],
  ['three instances', 3],
])('a launch of %s that is killed at any step, and started again', (_what, count) => {
  let at: Fixture;
  beforeAll(async () => {
    at = await startPipeline({ instances: [], unseen: 300, boot: NEVER });
  });
  afterAll(() => at.close());
  afterEach(() => clear(at));

  const owner = () => ({ workspace: 'w', project: `p${++project}`, caller: CALLER });
  const alive = (name: string) =>
    at.aws.instances.all().filter(({ tags, state }) => tags[TAG.project] === name && state !== 'terminated');
  const idsOf = (instances: EnsuredInstance[]) => instances.map(({ id }) => id);
  const run = (caller: Caller, more: Partial<EnsureOptions> = {}) =>
    ensureInstances(
      caller.options(launchSpecOf({ type: ['m5.large', 'c5.xlarge'], spot: 'or-on-demand' }), {
        count,
        timeouts: { profile: 2_000, sure: 1_500 },
        ...more,
      }),
    ).finally(() => caller.aws.close());

  /**
   * Kills one launch each before and after each of its requests.
   * @param before what is done first. @param beside another process continues the same launch. @param after what is done at once when it has been killed.
   * @param third only of every third request, this one first, one before it and the next one after it, and so on: what
   * differs from the first test is not the request. @param both before and after each of these.
   * @returns the callers.
   */
  async function killed(
    more: Partial<EnsureOptions> = {},
    {
      before = async () => undefined,
      beside = false,
      after,
      third,
      both = third === undefined,
    }: {
      before?: (caller: Caller) => Promise<void>;
      beside?: boolean;
      after?: (caller: Caller) => Promise<void>;
      third?: number;
      both?: boolean;
    } = {},
  ): Promise<Caller[]> {
    const whole = new MortalAws(Infinity, 'after');
    const uninterrupted = new Caller(owner(), whole);
    await before(uninterrupted);
    await run(uninterrupted, more);
    expect(whole.sent).toBeGreaterThan(8);
    const callers = Array.from({ length: whole.sent }, (_, n) => n)
      .filter((n) => third === undefined || n % 3 === third)
      .flatMap((n) =>
        (['before', 'after'] as const)
          .filter((when) => both || (when === 'after') === n % 2 > 0)
          .map((when) => new Caller(owner(), new MortalAws(n + 1, when))),
      );
    await Promise.all(
      callers.map(async (caller) => {
        await before(caller);
        const other = beside ? run(new Caller(caller.owner), more) : undefined;
        await run(caller, more).catch((error: Error) => error);
        await after?.(caller);
        await other;
      }),
    );
    return callers;
  }

  /** There are these instances and no others, all of one launch. */
  const expectOnly = (caller: Caller, instances: EnsuredInstance[]) => {
    const living = alive(caller.owner.project);
    expect(living.map(({ id }) => id).sort()).toEqual(idsOf(instances).sort());
    expect(living).toHaveLength(count);
    expect(new Set(living.map(({ clientToken }) => clientToken)).size).toBe(1);
  };

  /** What `clean --apply` does to placement groups an hour later. */
  const cleanGroups = async () => {
    const { aws, printer } = new Caller(owner());
    const unknown = { tagged: () => null, on: () => [], says: () => null };
    const findLate = (inventory: Inventory) => findExpired(inventory, unknown, Date.now() + NEVER);
    await terminateExpired(aws, findLate(await takeInventory(aws)), { findExpired: findLate, timeout: 0, printer });
    aws.close();
  };

  it('launches no more', async () => {
    await killed(
      {},
      {
        after: async (caller) => {
          expectOnly(caller, await run(new Caller(caller.owner)));
        },
      },
    );
    expect(at.aws.left().volumes.length).toBe(at.aws.left().instances.length);
    await clear(at);
    if (count > 1) expect(at.aws.left().placementGroups.length).toBeGreaterThan(5);
    await cleanGroups();
    expect(at.aws.left().placementGroups).toEqual([]);
  });

  it('launches no more if there is capacity only at the second start', async () => {
    at.aws.capacity.add({ market: 'spot', type: 'm5.large' });
    at.aws.capacity.add({ market: 'spot', zone: 'eu-west-1a' });
    const callers = await killed({}, { third: 0 });
    at.aws.capacity.clear();
    await Promise.all(
      callers.map(async (caller) => {
        expectOnly(caller, await run(new Caller(caller.owner)));
      }),
    );
    expect(at.aws.left().spotRequests.length).toBe(at.aws.left().instances.length);
  });

  it('finds what was launched if there is no capacity at the second start, or launches none', async () => {
    const callers = await killed({}, { third: 1, both: true });
    at.aws.capacity.add({});
    const refused = await Promise.all(
      callers.map(async (caller) => {
        const before = alive(caller.owner.project)
          .map(({ id }) => id)
          .sort();
        const made = await run(new Caller(caller.owner)).catch((error: { code: string }) => error.code);
        if (typeof made === 'string') expect([made, before]).toEqual(['NO_CAPACITY', []]);
        else expect(idsOf(made).sort()).toEqual(before);
        return typeof made === 'string';
      }),
    );
    expect(refused).toContain(true);
    expect(refused).toContain(false);
    at.aws.capacity.clear();
    for (const [n, caller] of callers.entries())
      if (refused[n]) expectOnly(caller, await run(new Caller(caller.owner)));
  });

  it('launches no more if the second start is for another run, or by a version that requests something else', async () => {
    const of = (letter: string): Partial<EnsureOptions> => ({
      by: 'remote-train',
      run: `20261125-101010-vision-${letter.repeat(6)}`,
    });
    const callers = await killed(of('a'), { third: 1 });
    await Promise.all(
      callers.map(async (caller, n) => {
        const made = await run(new Caller(caller.owner), {
          ...of('b'),
          ...(n % 2 ? { root: '/opt/nx-ec2' } : {}),
        });
        expectOnly(caller, made);
        for (const { deadline } of made) expect(deadline).toBeGreaterThan(Date.now());
      }),
    );
  });

  it('launches no more if another client does the same at the same time', async () => {
    at.aws.capacity.add({ market: 'spot', type: 'm5.large', zone: 'eu-west-1a' });
    const again = async (caller: Caller) => void (await run(new Caller(caller.owner)));
    for (const caller of await killed({}, { beside: true, after: again, third: 2 }))
      expectOnly(caller, await run(new Caller(caller.owner)));
  });

  if (count > 1)
    it('adds no more than are missing to those that exist', async () => {
      const one = async (caller: Caller) => {
        const [gone] = await run(new Caller(caller.owner));
        at.aws.instances.change(at.aws.instances.get(gone.id)!, 'terminated');
      };
      for (const caller of await killed({}, { before: one, third: 0 })) {
        const now = await run(new Caller(caller.owner));
        expect(
          alive(caller.owner.project)
            .map(({ id }) => id)
            .sort(),
        ).toEqual(idsOf(now).sort());
        expect(now).toHaveLength(count);
      }
    });

  if (count > 1)
    it('replaces one that ends after the launch was killed', async () => {
      const end = async ({ owner: { project: name } }: Caller) => {
        const [one] = alive(name);
        if (one) at.aws.instances.change(one, 'terminated');
      };
      for (const caller of await killed({}, { after: end, third: 1 })) {
        const now = await run(new Caller(caller.owner));
        expect(now).toHaveLength(count);
        expect(
          alive(caller.owner.project)
            .map(({ id }) => id)
            .sort(),
        ).toEqual(idsOf(now).sort());
      }
    });
});
