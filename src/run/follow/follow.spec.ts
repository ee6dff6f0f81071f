import { hash } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import { Problem } from '../../report/problem';
import { StoreFixture } from '../../store/store.fixture';
import { Moment } from '../../system/moment';
import { followRun } from './follow';
import type { RunRecord } from '../record/record';
import { RecordWatch } from '../record/record-poller';
import { putRecord, recordOf, RUN } from '../record/saved-run.fixture';

describe('a run whose objects another program has changed', () => {
  let at: StoreFixture;
  beforeAll(async () => void (at = await StoreFixture.start()));
  afterAll(() => at.close());
  beforeEach(() => at.empty());

  const LOG = Buffer.from('0123456789');

  /** @param instance what it answers; an error: why it does not. */
  async function follow(record: RunRecord, stored: Buffer | null, instance: object | Problem, write = putRecord) {
    const keys = at.keys();
    await write(at.store, keys, record);
    if (stored) await at.store.put(`${keys.run(RUN)}log/0`, stored);
    at.age(1);
    const warned: string[] = [];
    const shown: Buffer[] = [];
    const answer = () => (instance instanceof Problem ? Promise.reject(instance) : Promise.resolve(instance));
    const session = {
      project: 'model',
      store: at.store,
      keys,
      reporter: { warn: (text: string) => warned.push(text), line: () => {}, detail: () => {} },
      at: () => ({ assertInstanceExists: async () => {}, remote: { send: answer } }),
    };
    const ended = await followRun(session as never, record, {
      patience: 0,
      formSince: new Moment(),
      onState: () => {},
      onLog: (data) => shown.push(data),
    });
    return { ended, warned, shown: Buffer.concat(shown).toString() };
  }

  const gone = new Problem('INSTANCE_GONE', 'It is terminated.');

  it.each([
    ['truncated', LOG.subarray(0, 4), '0123'],
    ['deleted', null, ''],
  ])(
    'is not followed for ever where its log was %s, and a warning says what is missing',
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

  it('is followed without a warning where all of its log is there', async () => {
    const hashes = { folded: 0, chain: '0'.repeat(64), segments: [hash('sha256', LOG, 'hex')] };
    const found = await follow(recordOf({ log: { ...recordOf().log, hashes } }), LOG, gone);
    expect(found).toMatchObject({ shown: '0123456789', warned: [] });
  });

  it('is not followed for ever where an old record hides its end', async () => {
    const running = recordOf({ state: 'running', outcome: null, exitCode: null, endedAt: null });
    const log = { offset: 0, length: 10, size: 10, data: deflateSync(LOG).toString('base64') };
    const instance = { run: { ...recordOf(), state: 'ended' }, log, report: { saved: true, trouble: null } };
    await expect(follow(running, LOG, instance)).rejects.toMatchObject({
      code: 'RECORD_UNVERIFIED',
      message: expect.stringContaining(`the end of ${RUN}`),
    });
  });

  it('is left, with the command that stops it, where its record is written over again and again', async () => {
    const running = recordOf({ state: 'running', outcome: null, exitCode: null, endedAt: null });
    const forge: typeof putRecord = async (store, keys) =>
      void (await store.put(`${keys.run(RUN)}record.json`, Buffer.from('{"v":2}')));
    const offline = new Problem('INSTANCE_OFFLINE', 'It does not answer.');
    await expect(follow(running, LOG, offline, forge)).rejects.toMatchObject({
      code: 'RECORD_UNVERIFIED',
      message: expect.stringContaining(`nx run model:remote-cancel --run=${RUN}`),
    });
  });

  it('is no younger where a version of its record was written again', async () => {
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
