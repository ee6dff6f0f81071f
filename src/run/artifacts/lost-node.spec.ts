import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { allOutputs } from '../../config/settings/outputs';
import { Printer } from '../../report/printer';
import { StoreFixture } from '../../store/store.fixture';
import { nodeStateOf, putRecord, recordOf, saveRun } from '../record/saved-run.fixture';
import { pullRun } from './pull';

describe('pulling a run of which a node was lost', () => {
  let at: StoreFixture;
  let output: string;
  let warned: string[];
  beforeAll(async () => void (at = await StoreFixture.start()));
  afterAll(() => at.close());
  beforeEach(() => {
    at.empty();
    output = mkdtempSync(join(tmpdir(), 'nx-ec2-lost-node-'));
    warned = [];
  });
  afterEach(() => rmSync(output, { recursive: true, force: true }));

  const nodes = [0, 1, 2].map((rank) => ({
    rank,
    instance: `i-0000000${rank}`,
    address: `10.0.0.${rank}`,
    heartbeat: null,
  }));
  const read = (name: string) => readFileSync(join(output, 'artifacts', name), 'utf8');

  /** @param ranks of the nodes that have saved; the first node's record names all. */
  async function pull(...ranks: number[]) {
    const keys = at.keys();
    for (const rank of [0, 1, 2]) {
      const node = nodeStateOf(rank, 3);
      const named = rank === 0 ? { nodes, outcome: 'interrupted' as const } : {};
      const saved = ranks.includes(rank)
        ? await saveRun(
            at.store,
            keys,
            { [`shard-${rank}`]: Buffer.from(`of ${rank}`), same: Buffer.from('x') },
            {},
            node,
          )
        : recordOf({ node, outcome: 'lost', exitCode: null });
      await putRecord(at.store, keys, { ...saved, ...named });
    }
    const printer = new Printer({ stdout: new PassThrough().resume() as unknown as NodeJS.WriteStream });
    printer.warn = (text) => void warned.push(text);
    const first = recordOf({ node: nodeStateOf(0, 3), nodes, outcome: 'lost', exitCode: null });
    return pullRun({ store: at.store, keys, printer, project: 'model' }, first, {
      output,
      projectRoot: 'model',
      outputs: allOutputs([]),
      limit: 1 << 30,
    });
  }

  it('brings what the others have saved, with a warning, if it was the first one', async () => {
    expect(await pull(1, 2)).toMatchObject({ fetched: 3 });
    expect(['shard-1', 'shard-2', 'same'].map(read)).toEqual(['of 1', 'of 2', 'x']);
    expect(warned).toEqual([
      expect.stringMatching(/^node 0 of \S+ has saved no artifacts: only those of the other nodes are fetched\.$/),
    ]);
  });

  it('brings nothing, and says so, if none has saved', async () => {
    await expect(pull()).rejects.toMatchObject({ code: 'NOTHING_TO_PULL' });
    expect(existsSync(join(output, 'artifacts'))).toBe(false);
  });
});
