import { putUnreadable } from '../../local-aws/unreadable.fixture';
import { hash } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import { Problem } from '../../report/problem';
import { StoreFixture } from '../../store/store.fixture';
import { Moment } from '../../system/moment';
import { assertSaved } from '../artifacts/assert-saved';
import { isAllSaved } from '../record/all-saved';
import { followRun, type FollowOptions } from './follow';
import type { RunRecord } from '../record/record';
import { RecordWatch } from '../record/record-poller';
import { putRecord, recordOf, RUN } from '../record/saved-run.fixture';
import { SEGMENT_BYTES } from '../record/stored-log';

describe('a run whose objects another program has changed', () => {
  let at: StoreFixture;
  beforeAll(async () => void (at = await StoreFixture.start()));
  afterAll(() => at.close());
  beforeEach(() => at.empty());

  const LOG = Buffer.from('0123456789');

  /** @param instance what it answers; an error: why it does not. */
  async function follow(
    record: RunRecord,
    stored: Buffer | null,
    instance: object | Problem,
    write = putRecord,
    more: Partial<FollowOptions> = {},
  ) {
    const keys = at.keys();
    await write(at.store, keys, record);
    if (stored) await at.store.put(`${keys.run(RUN)}log/0`, stored);
    at.age(1);
    const warned: string[] = [];
    const shown: Buffer[] = [];
    const answer = () => (instance instanceof Problem ? Promise.reject(instance) : Promise.resolve(instance));
    const context = {
      project: 'model',
      store: at.store,
      keys,
      printer: { warn: (text: string) => warned.push(text), line: () => {}, detail: () => {} },
      at: () => ({ assertInstanceExists: async () => {}, remote: { send: answer } }),
    };
    const ended = await followRun(context as never, record, {
      patience: 0,
      formSince: new Moment(),
      onState: () => {},
      onLog: (data) => shown.push(data),
      ...more,
    });
    return { ended, warned, shown: Buffer.concat(shown).toString() };
  }

  const gone = new Problem('INSTANCE_GONE', 'It is terminated.');

  it.each([
    ['truncated', LOG.subarray(0, 4), '0123'],
    ['deleted', null, ''],
  ])(
    'is not followed without end if its log was %s, and a warning says what is missing',
    async (_what, stored, shown) => {
      for (const instance of [gone, new Problem('INSTANCE_OFFLINE', 'It does not answer.')]) {
        const found = await follow(recordOf(), stored, instance);
        expect(found.ended.outcome).toBe('succeeded');
        expect(found.shown).toBe(shown);
        expect(found.warned).toEqual([
          expect.stringContaining(`has 10 bytes, and the store lacks those from ${shown.length} on`),
        ]);
      }
    },
  );

  it('is followed without a warning if its log is complete', async () => {
    const hashes = { folded: 0, chain: '0'.repeat(64), segments: [hash('sha256', LOG, 'hex')] };
    const found = await follow(recordOf({ log: { ...recordOf().log, hashes } }), LOG, gone);
    expect(found).toMatchObject({ shown: '0123456789', warned: [] });
  });

  const signed = (log: Buffer, more: Partial<RunRecord> = {}) => {
    const hashes = { folded: 0, chain: '0'.repeat(64), segments: [hash('sha256', log, 'hex')] };
    return recordOf({ log: { ...recordOf().log, size: log.length, hashes }, ...more });
  };

  it.each([
    ['its last segment', LOG, Buffer.concat([LOG, Buffer.from('forged')])],
    ['a segment of its own', Buffer.alloc(SEGMENT_BYTES, 'a'), Buffer.alloc(SEGMENT_BYTES, 'a')],
  ])('is shown only as far as its record names it if something was added to its log in %s', async (_, log, stored) => {
    const added = async (...[store, keys, record]: Parameters<typeof putRecord>) => {
      await putRecord(store, keys, record);
      if (stored.length === log.length) await store.put(`${keys.run(RUN)}log/1`, Buffer.from('forged'));
    };
    const found = await follow(signed(log), stored, gone, added);
    expect(found.shown).toBe(log.toString());
    expect(found.warned).toEqual([
      `The store has more in the log of ${RUN} than the ${log.length} bytes that its record names. The rest is not the run's and was not shown. Another program is writing to this prefix.`,
    ]);
  });

  it.each<[string, Partial<RunRecord>, Partial<FollowOptions>]>([
    ['has ended, and its last lines are shown alone', {}, { from: 6 }],
    ['runs, as far as its record names it', { state: 'running', outcome: null, endedAt: null }, { once: true }],
    ['runs, in its last lines', { state: 'running', outcome: null, endedAt: null }, { once: true, from: 6 }],
  ])('is shown with a warning if its log was changed and it %s', async (_, state, how) => {
    const forged = Buffer.from('01234567X9 and what came since');
    const stored = state.state ? forged : forged.subarray(0, LOG.length);
    const { warned } = await follow(signed(LOG, state), stored, gone, putRecord, how);
    expect(warned).toEqual([
      expect.stringContaining(`differs from the one that the instance recorded: log/0 of ${RUN}`),
    ]);
    const whole = Buffer.concat([LOG, stored.subarray(LOG.length)]);
    expect((await follow(signed(LOG, state), whole, gone, putRecord, how)).warned).toEqual([]);
  });

  it('is no longer followed if its instance has given up saving it, and its record says why', async () => {
    const running = recordOf({ state: 'running', outcome: null, exitCode: null, endedAt: null });
    const log = { offset: 0, length: 10, size: 10, data: deflateSync(LOG).toString('base64') };
    const report = { saved: false, trouble: 'AccessDenied: the key', gaveUp: 1000 };
    const found = await follow(running, LOG, { run: recordOf(), log, report });
    expect(found.ended).toMatchObject({ outcome: 'succeeded', trouble: 'AccessDenied: the key' });
    expect(isAllSaved(found.ended)).toBe(false);
    expect(() => assertSaved(found.ended, 'model')).toThrow(
      expect.objectContaining({
        message: expect.stringMatching(/AccessDenied: the key[^]*run the same command to try again/),
      }),
    );
    expect(found.shown).toBe('0123456789');
  });

  it('is not followed without end if an old record hides its end', async () => {
    const running = recordOf({ state: 'running', outcome: null, exitCode: null, endedAt: null });
    const log = { offset: 0, length: 10, size: 10, data: deflateSync(LOG).toString('base64') };
    const instance = { run: { ...recordOf(), state: 'ended' }, log, report: { saved: true, trouble: null } };
    await expect(follow(running, LOG, instance)).rejects.toMatchObject({
      code: 'RECORD_UNVERIFIED',
      message: expect.stringContaining(`the end of ${RUN}`),
    });
  });

  it('is no longer followed if its record is overwritten again and again, and the message names the command that stops it', async () => {
    const running = recordOf({ state: 'running', outcome: null, exitCode: null, endedAt: null });
    const forge: typeof putRecord = async (store, keys) =>
      void (await store.put(`${keys.run(RUN)}record.json`, Buffer.from('{"v":2}')));
    const offline = new Problem('INSTANCE_OFFLINE', 'It does not answer.');
    await expect(follow(running, LOG, offline, forge)).rejects.toMatchObject({
      code: 'RECORD_UNVERIFIED',
      message: expect.stringContaining(`nx run model:remote-cancel --run=${RUN}`),
    });
  });

  it('is no longer followed if S3 does not return its record, and the message says why', async () => {
    const running = recordOf({ state: 'running', outcome: null, exitCode: null, endedAt: null });
    const spoil: typeof putRecord = (_, keys) => putUnreadable(at.local, `${keys.run(RUN)}record.json`, 'customer key');
    const offline = new Problem('INSTANCE_OFFLINE', 'It does not answer.');
    await expect(follow(running, LOG, offline, spoil)).rejects.toMatchObject({
      code: 'RECORD_UNVERIFIED',
      message: expect.stringMatching(/S3 does not return it[^]*InvalidRequest[^]*remote-cancel --run=/),
    });
  });

  it.each<[string, Partial<RunRecord>, string]>([
    ['another training', { runKey: 'other' }, 'of this training'],
    ['another caller', { caller: 'arn:aws:iam::123456789012:user/bea' }, 'of arn:'],
  ])('is not followed as the training that its instance says it is, if it is that of %s', async (_, signed, what) => {
    const write: typeof putRecord = (store, keys, record) => putRecord(store, keys, { ...record, ...signed });
    await expect(follow(recordOf(), LOG, gone, write)).rejects.toMatchObject({
      code: 'REPLY_INVALID',
      message: expect.stringMatching(new RegExp(`${RUN} as a run ${what}`)),
    });
  });

  it('does not count as more recent if an old version of its record was written again', async () => {
    const keys = at.keys();
    const watch = new RecordWatch(at.store, keys, RUN);
    await putRecord(at.store, keys, recordOf());
    at.age(1);
    await watch.look();
    const day = 24 * 3600_000;
    expect(watch.age).toBeGreaterThan(day - 60_000);
    // The same version in other bytes, so that the ETag differs.
    await putRecord(at.store, keys, { ...recordOf(), more: 1 } as never);
    await watch.look();
    expect(watch.changed).toBe(true);
    expect(watch.age).toBeGreaterThan(day - 60_000);
    await putRecord(at.store, keys, recordOf({ heartbeat: recordOf().heartbeat + 1 }));
    await watch.look();
    expect(watch.age).toBeLessThan(60_000);
  });
});
