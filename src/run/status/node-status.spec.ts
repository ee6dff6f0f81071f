import { StoreFixture } from '../../store/store.fixture';
import type { RunRecord } from '../record/record';
import { nodeStateOf, putRecord, recordOf, RUN } from '../record/saved-run.fixture';
import { describeNodes, readNodes } from './node-status';
import { describeRun, oneStatus } from './status';

describe('the nodes of a run in its status', () => {
  let at: StoreFixture;
  beforeAll(async () => void (at = await StoreFixture.start()));
  afterAll(() => at.close());
  beforeEach(() => at.empty());

  /** One that is older than one that was seen is not believed. */
  let heartbeat = 0;
  const active = { state: 'running', outcome: null, exitCode: null, endedAt: null } as const;
  const metrics = (secondsPerStep: number | null, value = 120, gpus: RunRecord['metrics']['gpus'] = null) => {
    const progress = { name: 'step', value, secondsPerStep };
    return { metrics: { ...recordOf().metrics, progress, gpus } };
  };

  async function put(rank: number, count: number, more: Partial<RunRecord> = {}): Promise<RunRecord> {
    const node = { ...nodeStateOf(rank, count)!, ...(more.outcome === null && { phase: 'running' as const }) };
    const record = recordOf({ node, instance: `i-0000000${rank}`, heartbeat: ++heartbeat, ...more });
    await putRecord(at.store, at.keys(), record);
    return record;
  }

  const context = () => ({ store: at.store, keys: at.keys(), project: 'model' }) as never;

  it('tells how each is, and which are slow', async () => {
    const gpu = { index: 0, name: 'L4', memoryTotal: 100, temperature: null, power: null };
    const gpus = [
      { ...gpu, utilization: 90, memoryUsed: 60 },
      { ...gpu, utilization: 80, memoryUsed: 80 },
    ];
    const first = await put(0, 5, { ...active, ...metrics(0.5, 120, gpus) });
    await put(1, 5, { ...active, ...metrics(0.9, 118, gpus) });
    await put(2, 5, { ...active, ...metrics(0.52), node: { ...nodeStateOf(2, 5)!, phase: 'exited' } });
    await at.store.put(`${at.keys().node(RUN, 3)}record.json`, Buffer.from('{}'));
    const nodes = await readNodes(context(), first, 3_000);
    expect(nodes.map(({ rank, state, isSlow }) => [rank, state, isSlow])).toEqual([
      [0, 'running', false],
      [1, 'running', true],
      [2, 'exited', false],
      [3, 'unverified', false],
      [4, 'not started', false],
    ]);
    const lines = describeNodes(nodes).split('\n');
    expect(lines[1]).toMatch(
      /^0 +running +3\.0 s ago +i-00000000 +10\.0\.0\.0 +GPU 2 x 85 %, memory 70 % +step 120 +500 ms$/,
    );
    expect(lines[2]).toMatch(/step 118 +900 ms slow$/);
    expect(lines[3]).toMatch(/CPU 1 % +step 120 +520 ms$/);
    expect(lines[5]).toBe('4     not started');
    expect(lines[6]).toBe('slow: node 1 (900 ms); the median of all nodes is 520 ms');
  });

  it('of two nodes compares the slower one with the faster one, and none with itself', async () => {
    const slowOf = async (...times: (number | null)[]) => {
      const records: RunRecord[] = [];
      for (const [rank, time] of times.entries())
        records.push(await put(rank, times.length, { ...active, ...metrics(time) }));
      return (await readNodes(context(), records[0], 0)).filter(({ isSlow }) => isSlow).map(({ rank }) => rank);
    };
    expect(await slowOf(1, 1.4)).toEqual([]);
    expect(await slowOf(1.6, 1)).toEqual([0]);
    expect(await slowOf(9, null)).toEqual([]);
    expect(await slowOf(1, 1, 2, 2)).toEqual([2, 3]);
  });

  it('is silent if its record was not written for long', async () => {
    const first = await put(0, 2, active);
    await put(1, 2, active);
    at.age(50);
    const [, other] = await readNodes(context(), first, 1_000);
    expect(other.state).toBe('silent');
    expect(other.heard).toBeGreaterThan(49_000);
  });

  it('counts the artifacts that all have saved', async () => {
    const saved = (files: number) =>
      ({ state: 'saved', sha256: null, files, bytes: 1000 * files, unsaved: 0, extra: null, error: null }) as const;
    await put(0, 3, { artifacts: saved(1) });
    await put(1, 3, { artifacts: saved(4) });
    await put(2, 3, { ...active });
    const { signal } = new AbortController();
    const status = await oneStatus(context(), RUN, signal);
    expect(describeRun(status)).toMatch(/^artifacts +5 files, 4\.9 KB, saved by 2 of 3 nodes$/m);
    expect(status.nodeStatus).toHaveLength(3);
    await put(2, 3, { artifacts: { ...saved(0), state: 'failed' } });
    expect(describeRun(await oneStatus(context(), RUN, signal))).toMatch(
      /^artifacts +5 files, 4\.9 KB, saved by 2 of 3 nodes, failed on node 2$/m,
    );
  });

  it('are none if it has one', async () => {
    const record = recordOf({ heartbeat: ++heartbeat });
    await putRecord(at.store, at.keys(), record);
    const { signal } = new AbortController();
    const status = await oneStatus(context(), RUN, signal);
    expect(status.nodeStatus).toEqual([]);
    expect(describeRun(status)).not.toContain('NODE');
  });
});
