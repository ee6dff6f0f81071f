import type { Fixture } from '../../local-aws/local-aws.fixture';
import { isResumable, awaitsReplacement, wasInterrupted, resumeBlocker } from './interruption';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import type { RunRecord } from './record';
import { putRecord, recordOf, RUN } from './saved-run.fixture';
import { describeRun, oneStatus } from '../status/status';

const FIRST = 'i-00000000000000001';
const base = recordOf();

function ended(recovery: 'client' | 'fleet' | 'none', more: Partial<RunRecord> = {}): RunRecord {
  return recordOf({
    instance: FIRST,
    outcome: 'interrupted',
    exitCode: null,
    stop: { reason: 'interruption', at: 1 },
    metadata: { ...base.metadata, recovery },
    ...more,
  });
}

describe('an interruption', () => {
  const gone = { code: 'INSTANCE_GONE', message: 'gone', exitCode: null };

  it('is what takes a spot instance away, with notice or without, and nothing else', () => {
    expect(wasInterrupted(ended('none'))).toBe(true);
    expect(wasInterrupted(ended('client', { outcome: 'lost', stop: null, failure: gone }))).toBe(true);
    // Another's instance, of which nothing says that it is a spot instance.
    expect(wasInterrupted(ended('none', { outcome: 'lost', stop: null, failure: gone }))).toBe(false);
    expect(
      wasInterrupted(ended('client', { outcome: 'lost', stop: null, failure: { ...gone, code: 'REBOOTED' } })),
    ).toBe(false);
    for (const reason of ['shutdown', 'lifetime', 'cost', 'superseded'])
      expect(wasInterrupted(ended('client', { stop: { reason, at: 1 } }))).toBe(false);
    expect(wasInterrupted(ended('client', { state: 'saving' }))).toBe(false);
    expect(wasInterrupted(ended('client', { outcome: 'cancelled' }))).toBe(false);
  });

  it('is followed by the next attempt if the store can be read from where that starts', () => {
    expect([isResumable(ended('client')), awaitsReplacement(ended('client')), resumeBlocker(ended('client'))]).toEqual([
      true,
      false,
      null,
    ]);
    expect([isResumable(ended('fleet')), awaitsReplacement(ended('fleet'))]).toEqual([false, true]);
    expect([isResumable(ended('none')), awaitsReplacement(ended('none')), resumeBlocker(ended('none'))]).toEqual([
      false,
      false,
      null,
    ]);
    const formed = ended('client', { access: 'presigned' });
    expect(isResumable(formed)).toBe(false);
    expect(resumeBlocker(formed)?.code).toBe('RECOVERY_IMPOSSIBLE');
  });
});

describe('a run with a fleet', () => {
  let at: Fixture;
  let pipe: Pipeline;
  beforeAll(async () => {
    at = await startPipeline();
    pipe = await new Pipeline(at, 'store').open();
  });
  afterAll(async () => {
    pipe.close();
    await at.close();
  });

  /** A record of this project: only one is its run's. */
  const ours = (recovery: 'client' | 'fleet', more: Partial<RunRecord>) =>
    ended(recovery, { project: pipe.project, ...more });

  it('is followed from one instance to the next, with the log that was saved', async () => {
    const { store, keys } = pipe.context;
    const log = (text: string) => store.put(`${keys.run(RUN)}log/0`, Buffer.from(text));
    const size = (bytes: number) => ({ size: bytes, training: 0, truncated: false, hashes: null });
    await log('one\ntw');
    const record = ours('fleet', { log: size(6) });
    await putRecord(store, keys, record);
    const status = await oneStatus(pipe.context, RUN, new AbortController().signal);
    expect(describeRun(status)).toContain('its fleet launches another instance');
    // Only shown again: there is no wait.
    expect((await pipe.follow(record, { once: true })).run.outcome).toBe('interrupted');

    const following = pipe.follow(record);
    while (!pipe.said.join().includes('waiting for its fleet')) await new Promise((resolve) => setTimeout(resolve, 20));
    const next = { instance: 'i-00000000000000002', attempt: 2, takenOver: { from: FIRST, log: 6 } };
    await log('one\ntw\nthree\n');
    await putRecord(store, keys, {
      ...ours('fleet', { ...next, log: size(13) }),
      state: 'running',
      outcome: null,
      stop: null,
      access: 'presigned',
    });
    while (!pipe.said.join().includes('continues on i-00000000000000002'))
      await new Promise((resolve) => setTimeout(resolve, 20));
    await log('one\ntw\nthree\nfour\n');
    await putRecord(
      store,
      keys,
      ours('fleet', { ...next, log: size(18), outcome: 'succeeded', stop: null, exitCode: 0 }),
    );
    const done = await following;
    expect(done.run).toMatchObject({ outcome: 'succeeded', attempt: 2 });
    expect(done.log.toString()).toBe('one\ntw\nthree\nfour\n');
    expect(pipe.said.filter((text) => text.includes('waiting for its fleet'))).toHaveLength(1);
  });

  it('is not taken to have ended because its previous attempt has', async () => {
    const { store, keys } = pipe.context;
    await store.put(`${keys.run(RUN)}log/0`, Buffer.from('one\ntw\nthree\nfour\n'));
    await putRecord(store, keys, ours('client', { log: { size: 6, training: 0, truncated: false, hashes: null } }));
    const begun = { instance: 'i-00000000000000002', attempt: 2, takenOver: { from: FIRST, log: 6 } };
    const run = ours('client', { ...begun, state: 'running', outcome: null, stop: null });
    const following = pipe.follow(run, { from: 6 });
    const look = new Promise((resolve) => setTimeout(resolve, 700, 'it is followed'));
    expect(await Promise.race([following, look])).toBe('it is followed');
    const size = { size: 18, training: 0, truncated: false, hashes: null };
    await putRecord(
      store,
      keys,
      ours('client', { ...begun, log: size, outcome: 'succeeded', stop: null, exitCode: 0 }),
    );
    const done = await following;
    expect(done.run).toMatchObject({ outcome: 'succeeded', attempt: 2 });
    expect(done.log.toString()).toBe('one\ntw\nthree\nfour\n'.slice(6));
  });
});
