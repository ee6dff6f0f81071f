import type { StoreKeys } from '../../store/keys';
import { StoreFixture } from '../../store/store.fixture';
import { readNodeRecord, readRecord } from './record';
import { readOtherNodes } from './node-records';
import { RecordWatch } from './record-poller';
import { nodeStateOf, putRecord, recordOf, RUN, signedBytes } from './saved-run.fixture';

describe('the record of a node of a run on several', () => {
  let at: StoreFixture;
  let keys: StoreKeys;
  const environment = { ...process.env };
  beforeAll(async () => {
    at = await StoreFixture.start();
    keys = at.keys();
    process.env.NX_EC2_CACHE_DIRECTORY = at.local.directory;
  });
  afterAll(async () => {
    await at.close();
    process.env = environment;
  });

  const node = (rank: number, heartbeat = 1) => recordOf({ heartbeat, node: nodeStateOf(rank, 3) });
  const read = async (rank: number) => (await readNodeRecord(at.store, keys, RUN, rank))?.record;

  it('of more nodes than any run has is not read: whoever looks at each would not end', async () => {
    const many = recordOf({ heartbeat: 1, node: { ...nodeStateOf(0, 3)!, count: 1e9 } });
    await putRecord(at.store, keys, many);
    await expect(readRecord(at.store, keys, RUN)).rejects.toMatchObject({ code: 'RECORD_INVALID' });
  });

  it("is read by its rank, and that of the first node is the run's", async () => {
    for (const rank of [0, 1, 2]) await putRecord(at.store, keys, node(rank));
    for (const rank of [0, 1, 2]) expect((await read(rank))?.node?.address).toBe(`10.0.0.${rank}`);
    expect((await readRecord(at.store, keys, RUN))?.record.node?.rank).toBe(0);
    expect(await readNodeRecord(at.store, keys, RUN, 3)).toBeNull();
  });

  it("is not believed in another node's place, though it has the same key", async () => {
    for (const rank of [0, 1, 2]) await putRecord(at.store, keys, node(rank));
    for (const [from, to] of [
      [1, 0],
      [0, 1],
      [1, 2],
    ]) {
      await at.store.put(`${keys.node(RUN, to)}record.json`, await signedBytes(at.store, keys, node(from)));
      await expect(read(to)).rejects.toMatchObject({ code: 'RECORD_UNVERIFIED' });
      await putRecord(at.store, keys, node(to));
    }
  });

  it.each([
    ['is missing a save', { state: 'saving' as const }],
    ['has not ended its training', { state: 'running' as const, outcome: null }],
    ['is older than the one that the first node has seen', { heartbeat: 8 }],
    ['is of an earlier attempt', { attempt: 1, heartbeat: 99 }],
  ])('of a run that has succeeded is not believed if it %s', async (_what, more) => {
    const nodes = [0, 1].map((rank) => ({
      rank,
      instance: `i-${rank}`,
      address: `10.0.0.${rank}`,
      heartbeat: rank ? 9 : null,
    }));
    const run = { ...node(0), attempt: 2, nodes };
    const place = { store: at.store, keys };
    const last = { ...node(1, 9), attempt: 2 };
    await putRecord(at.store, keys, { ...last, ...more });
    await expect(readOtherNodes(place, run)).rejects.toMatchObject({ code: 'RECORD_UNVERIFIED' });
    // Of a run that has not succeeded, nothing is expected.
    expect(await readOtherNodes(place, { ...run, outcome: 'interrupted' })).toHaveLength(1);
    await putRecord(at.store, keys, last);
    expect(await readOtherNodes(place, run)).toMatchObject([{ heartbeat: 9 }]);
  });

  it('is known by its own versions: that of one node makes none of another old', async () => {
    await putRecord(at.store, keys, node(1, 7));
    await putRecord(at.store, keys, node(2, 3));
    const watch = (rank: number) => new RecordWatch(at.store, keys, RUN, 0, rank);
    expect((await watch(1).look())?.heartbeat).toBe(7);
    expect((await watch(2).look())?.heartbeat).toBe(3);
    expect((await watch(0).look())?.node?.rank).toBe(0);
    await putRecord(at.store, keys, node(1, 6));
    await expect(watch(1).look()).rejects.toThrow(/older/);
    await expect(read(1)).rejects.toThrow(/older/);
  });
});
