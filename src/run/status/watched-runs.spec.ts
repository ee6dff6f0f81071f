import { recordOf } from '../record/saved-run.fixture';
import type { ReadRecord, RunRecord } from '../record/record';
import { WatchedRuns } from './watched-runs';

const ended = recordOf();
const running: RunRecord = { ...ended, state: 'running', outcome: null, endedAt: null };

function watched(read: (id: string) => Promise<ReadRecord | { id: string; state: 'unreadable'; why: string } | null>) {
  const asked = { read: 0, status: 0 };
  const clock = { now: 0 };
  const runs = new WatchedRuns(
    {
      read: (id) => (asked.read++, read(id)),
      status: ({ record, age }) => (asked.status++, Promise.resolve({ ...record, heard: age, silent: age > 40_000 })),
    },
    () => clock.now,
  );
  return { runs, asked, clock };
}

describe('a watch of runs', () => {
  it('reads a run that has ended once, and an active one at each look', async () => {
    let record = running;
    const { runs, asked } = watched(() => Promise.resolve({ record, age: 1 } as ReadRecord));
    for (let look = 0; look < 3; look++) await runs.read('a');
    expect(asked.read).toBe(3);
    record = ended;
    for (let look = 0; look < 3; look++) expect(await runs.read('a')).toMatchObject({ record: { state: 'ended' } });
    expect(asked.read).toBe(4);
  });

  it('reads a run that awaits another instance at each look, and one that can not be read once a minute', async () => {
    const interrupted: RunRecord = {
      ...ended,
      outcome: 'lost',
      metadata: { ...ended.metadata, recovery: 'fleet' },
    };
    let read: ReadRecord | { id: string; state: 'unreadable'; why: string } = {
      id: 'a',
      state: 'unreadable',
      why: 'x',
    };
    const { runs, asked, clock } = watched(() => Promise.resolve(read));
    for (let look = 0; look < 3; look++) expect(await runs.read('a')).toBe(read);
    expect(asked.read).toBe(1);
    clock.now = 60_000;
    await runs.read('a');
    expect(asked.read).toBe(2);
    read = { record: interrupted, age: 1 } as ReadRecord;
    clock.now = 120_000;
    for (let look = 0; look < 3; look++) expect(await runs.read('a')).toBe(read);
    expect(asked.read).toBe(5);
    read = { record: running, age: 1 } as ReadRecord;
    expect(await runs.read('a')).toBe(read);
  });

  it('asks after a silent run every 30 s, and says how long nothing was heard of it in between', async () => {
    const { runs, asked, clock } = watched(() => Promise.resolve(null));
    for (let look = 0; look < 30; look++) {
      clock.now = look * 2_000;
      const { heard } = await runs.status({ record: running, age: 50_000 + clock.now } as never);
      expect(heard).toBe(50_000 + clock.now);
    }
    expect(asked.status).toBe(2);
    await runs.status({ record: running, age: 1 } as never);
    expect(asked.status).toBe(3);
  });

  it('waits so long that it takes at most 300 requests a minute', async () => {
    const { runs } = watched(() => Promise.resolve({ record: running, age: 1 } as ReadRecord));
    await runs.read('a');
    runs.count(1);
    expect(runs.pause(5_000)).toBe(5_000);
    for (let n = 0; n < 100; n++) await runs.read(String(n));
    expect(runs.pause(5_000)).toBe(20_000);
    expect(runs.pause(5_000)).toBe(5_000);
  });
});
