import { StoreFixture } from '../../store/store.fixture';
import { latestRun, listRuns, readRecord, type RunRecord } from './record';
import { putRecord, recordOf, RUN, signAs } from './saved-run.fixture';
import { signRecord } from './signed-record';
import { listStatus } from '../status/status';
import { listActiveRuns } from '../find/active-runs';

describe('the records of runs', () => {
  let at: StoreFixture;
  beforeAll(async () => void (at = await StoreFixture.start()));
  afterAll(() => at.close());
  beforeEach(() => at.empty());

  const id = (n: number) => `20260101-${String(n).padStart(6, '0')}-model-abcdef`;
  /** Signed as the run's, whatever it is. */
  const put = async (value: unknown) => {
    const { keys: signer } = await at.store.signingKeys.forStart({ keys: at.keys(), run: RUN });
    const bytes =
      typeof value === 'string'
        ? signRecord(signer.key, RUN, Buffer.from(value))
        : signAs(signer, RUN, value as Partial<RunRecord>);
    await at.store.put(`${at.keys().run(RUN)}record.json`, bytes);
  };

  it('are read unchanged, with their age by the clock of S3', async () => {
    await putRecord(at.store, at.keys(), recordOf());
    const first = (await readRecord(at.store, at.keys(), RUN))!;
    expect(first.record).toEqual(recordOf());
    expect(first.age).toBeLessThan(5_000);
    at.age(2);
    const later = (await readRecord(at.store, at.keys(), RUN))!;
    expect(Math.round((later.age - first.age) / 60_000)).toBe(2 * 24 * 60);
    expect(later.etag).toBe(first.etag);
  });

  it('are null if the store has none', async () => {
    expect(await readRecord(at.store, at.keys(), RUN)).toBeNull();
    expect(await listRuns(at.store, at.keys())).toEqual([]);
    expect(await latestRun(at.store, at.keys())).toBeNull();
  });

  it.each([
    ['no JSON', '{', /not valid JSON/],
    ['nothing', 'null', /can't be read/],
    ['a later version', { v: 2 }, /later version/],
    ['another run', recordOf({ id: id(5) }), /it belongs to/],
    ['a state that is none', { ...recordOf(), state: 'dancing' }, /state: /],
    ['a text without end', { ...recordOf(), user: 'x'.repeat(5000) }, /user: /],
    ['a number that is none', { ...recordOf(), log: { size: -1, training: null, truncated: false } }, /log\.size: /],
    ['a success with an exit code', recordOf({ exitCode: 1 }), /its run has succeeded with the exit code 1\./],
    ['a success without one', recordOf({ exitCode: null }), /its run has succeeded with no exit code\./],
    ['a success by a signal', recordOf({ signal: 'SIGKILL' }), /its run has succeeded and was ended by SIGKILL\./],
    ['a success that was stopped', recordOf({ stop: { reason: 'cost', at: 5 } }), /was stopped \(cost\)\./],
    [
      'a success that failed',
      recordOf({ failure: { code: 'OUTPUTS', message: 'x', exitCode: null } }),
      /has failed \(OUTPUTS\)\./,
    ],
    [
      'more than a record',
      `{"v":1,"x":"${'x'.repeat(1024 * 1024)}"}`,
      /record.json is too large: it has 1,048,680 bytes, its limit is 1,048,576 bytes/,
    ],
  ])('are refused if they are %s', async (_name, value, message) => {
    await put(value);
    await expect(readRecord(at.store, at.keys(), RUN)).rejects.toThrow(message);
  });

  it('are safe to print on a terminal', async () => {
    await put({ ...recordOf(), '\x1b]0;x\x07': 1, metrics: { ...recordOf().metrics, training: { '\x1b[2J': 'x' } } });
    const error = await readRecord(at.store, at.keys(), RUN).catch((each: Error) => each);
    expect((error as Error).message).not.toContain('\x1b');
  });

  it('may have fields of a later version', async () => {
    await put({ ...recordOf(), more: 1 });
    expect((await readRecord(at.store, at.keys(), RUN))!.record).toEqual(recordOf());
  });

  it('are listed newest first, each once, beside other objects', async () => {
    const keys = at.keys();
    for (const n of [3, 1, 2]) {
      await putRecord(at.store, keys, recordOf({ id: id(n) }));
      await at.store.put(`${keys.run(id(n))}log/0`, Buffer.from('x'));
    }
    await at.store.put(`${keys.run('')}..%2F/record.json`, Buffer.from('x'));
    await at.store.put(`${keys.run('')}stray`, Buffer.from('x'));
    await putRecord(at.store, at.keys('other'), recordOf({ id: id(9) }));
    expect(await listRuns(at.store, keys)).toEqual([id(3), id(2), id(1)]);
  });

  it('are found although there are many forged ones', async () => {
    const keys = at.keys();
    await putRecord(at.store, keys, recordOf({ id: id(1) }));
    const forged = Array.from({ length: 130 }, (_, n) => id(n + 2));
    await Promise.all(forged.map((each) => at.store.put(`${keys.run(each)}record.json`, Buffer.from('{"v":2}'))));
    expect((await latestRun(at.store, keys))!.record.id).toBe(id(1));
    const signal = new AbortController().signal;
    const listed = await listStatus({ store: at.store, keys } as never, 2, signal);
    expect(listed.map((each) => [each.id, each.state])).toEqual([
      [id(131), 'unverified'],
      [id(130), 'unverified'],
      [id(1), 'ended'],
    ]);
    expect(await listActiveRuns(at.store, keys, new Set([recordOf().instance]))).toEqual({
      runs: [],
      unverified: [],
    });
  });

  it("are found by their caller among those of others and those that can't be read", async () => {
    const keys = at.keys();
    for (let n = 1; n <= 12; n++)
      await putRecord(at.store, keys, recordOf({ id: id(n), caller: n <= 2 ? 'arn:me' : 'arn:other' }));
    await at.store.put(`${keys.run(id(13))}record.json`, Buffer.from('spoilt'));
    await at.store.put(`${keys.run(id(14))}log/0`, Buffer.from('no record yet'));
    expect((await latestRun(at.store, keys))!.record.id).toBe(id(12));
    expect((await latestRun(at.store, keys, ({ caller }) => caller === 'arn:me'))!.record.id).toBe(id(2));
    expect(await latestRun(at.store, keys, () => false)).toBeNull();
  });
});
