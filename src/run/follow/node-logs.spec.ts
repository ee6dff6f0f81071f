import { hash } from 'node:crypto';
import { StoreFixture } from '../../store/store.fixture';
import { until } from '../../system/until.fixture';
import type { RunRecord } from '../record/record';
import { nodeStateOf, putRecord, recordOf, RUN } from '../record/saved-run.fixture';
import { NodeLines } from './node-lines';
import { streamNodeLogs } from './node-logs';

describe('the lines of a node', () => {
  const printed = (pieces: (string | Buffer)[]) => {
    const lines: string[] = [];
    const node = new NodeLines(3, (line) => lines.push(line));
    for (const piece of pieces) node.add(Buffer.from(piece as string));
    node.end();
    return lines;
  };

  it('each begin with its rank, wherever the log was cut', () => {
    expect(printed(['one\ntw', 'o\n\nlast'])).toEqual([
      '[node 3] one\n',
      '[node 3] two\n',
      '[node 3] \n',
      '[node 3] last\n',
    ]);
    const letters = Buffer.from('größe\n');
    expect(printed([...letters].map((byte) => Buffer.from([byte])))).toEqual(['[node 3] größe\n']);
  });

  it('are the last state of a progress bar', () => {
    expect(printed(['\r 10%', '\r 20%\r 3', '0%\n', 'next\r\n', 'a\rb\r\n', '\r\n'])).toEqual([
      '[node 3]  30%\n',
      '[node 3] next\n',
      '[node 3] b\n',
      '[node 3] \n',
    ]);
  });

  it("can't pass for another node's, whatever the training prints", () => {
    const hostile = [
      '\x1b[2K\x1b[1A[node 0] loss 0\n',
      'x\r[node 1] y\n',
      '\x1b(\n',
      '\x1b]0;title',
      '\n',
      '\x1b[31mred\n',
      'plain\n',
    ];
    expect(printed(hostile)).toEqual([
      '[node 3] [node 0] loss 0\n',
      '[node 3] [node 1] y\n',
      '[node 3] \n',
      '[node 3] \n',
      '[node 3] \x1b[31mred\x1b[0m\n',
      '[node 3] plain\n',
    ]);
  });

  it('are printed in pieces if they are very long, so that no more is held', () => {
    const lines = printed(['x'.repeat(40_000), 'y'.repeat(40_000)]);
    expect(lines).toHaveLength(5);
    expect(lines.map((line) => line.slice(9, -1)).join('')).toBe('x'.repeat(40_000) + 'y'.repeat(40_000));
  });
});

describe('the logs of all nodes', () => {
  let at: StoreFixture;
  beforeAll(async () => void (at = await StoreFixture.start()));
  afterAll(() => at.close());
  beforeEach(() => at.empty());

  /** One that is older than one that was seen is not believed. */
  let heartbeat = 0;

  /** @param pieces with the time of each. */
  async function put(rank: number, pieces: [number, string][], more: Partial<RunRecord> = {}): Promise<RunRecord> {
    const keys = at.keys();
    const log = Buffer.from(pieces.map(([, text]) => text).join(''));
    let size = 0;
    const times = pieces.map(([time, text]) => [time, (size += Buffer.byteLength(text))]);
    await at.store.put(`${keys.node(RUN, rank)}log/0`, log);
    await at.store.put(`${keys.node(RUN, rank)}times.json`, Buffer.from(JSON.stringify({ v: 1, times })));
    const hashes = { folded: 0, chain: '0'.repeat(64), segments: [hash('sha256', log, 'hex')] };
    const record = recordOf({
      node: nodeStateOf(rank, 3),
      log: { size: log.length, training: 0, truncated: false, hashes },
      heartbeat: ++heartbeat,
      ...more,
    });
    await putRecord(at.store, keys, record);
    return record;
  }

  function show(record: RunRecord, more: { once?: boolean; tail?: number } = {}) {
    const shown: string[] = [];
    const warned: string[] = [];
    const gone = new Error('It was not to be asked.');
    const context = {
      project: 'model',
      store: at.store,
      keys: at.keys(),
      printer: {
        warn: (text: string) => warned.push(text),
        line: (text: string) => shown.push(`${text}\n`),
        detail: () => {},
        log: (data: Buffer) => shown.push(data.toString()),
      },
      at: () => ({ assertInstanceExists: () => Promise.reject(gone) }),
    };
    const { signal } = new AbortController();
    const ended = streamNodeLogs(context as never, record, { signal, once: false, ...more });
    return { ended, shown, warned };
  }

  it('are merged in the order in which their lines were written', async () => {
    const first = await put(0, [
      [10, 'a\n'],
      [40, 'd\ne'],
      [60, '\nf\n'],
    ]);
    await put(1, [[20, 'b\n']]);
    await put(2, [
      [30, 'c\n'],
      [50, 'x\n'],
    ]);
    const { ended, shown, warned } = show(first);
    expect(await ended).toMatchObject({ outcome: 'succeeded', node: { rank: 0 } });
    expect(shown.join('')).toBe('[node 0] a\n[node 1] b\n[node 2] c\n[node 0] d\n[node 2] x\n[node 0] e\n[node 0] f\n');
    expect(warned).toEqual([]);

    const last = show(first, { tail: 1 });
    await last.ended;
    expect(last.shown.sort()).toEqual(['[node 0] f\n', '[node 1] b\n', '[node 2] x\n']);
  });

  it('are followed to the end of each, of a node that begins later too', async () => {
    const active = { state: 'running', outcome: null, exitCode: null, endedAt: null } as const;
    const first = await put(0, [[10, 'a\n']], active);
    await put(1, [[20, 'b\n']], active);
    const { ended, shown } = show(first);
    await until(() => shown.length === 2);
    await put(2, [[25, 'late\n']], active);
    await put(1, [
      [20, 'b\n'],
      [30, 'c\n'],
    ]);
    await until(() => shown.includes('[node 1] c\n') && shown.includes('[node 2] late\n'));
    await put(0, [
      [10, 'a\n'],
      [40, 'the end'],
    ]);
    await put(2, [
      [25, 'late\n'],
      [41, 'last\n'],
    ]);
    expect((await ended).state).toBe('ended');
    expect(shown.sort()).toEqual([
      '[node 0] a\n',
      '[node 0] the end\n',
      '[node 1] b\n',
      '[node 1] c\n',
      '[node 2] last\n',
      '[node 2] late\n',
    ]);
  });

  it('are shown without that of a node whose record another program has written, with a warning', async () => {
    const first = await put(0, [[10, 'a\n']]);
    await put(1, [[20, 'b\n']]);
    await at.store.put(`${at.keys().node(RUN, 2)}record.json`, Buffer.from('{}'));
    const { ended, shown, warned } = show(first);
    await ended;
    expect(shown).toEqual(['[node 0] a\n', '[node 1] b\n']);
    expect(warned).toEqual([expect.stringMatching(/^Node 2 of \S+: its log is not shown any further: .*no signature/)]);
  });

  it('of a run that has begun on some nodes are shown as far as they go, if they are not followed', async () => {
    const active = { state: 'running', outcome: null, exitCode: null, endedAt: null } as const;
    const first = await put(0, [[10, 'a\n']], active);
    const { ended, shown, warned } = show(first, { once: true });
    await ended;
    expect(shown).toEqual(['[node 0] a\n']);
    expect(warned).toEqual([1, 2].map((rank) => `Node ${rank} of ${RUN}: the store has no log of it yet.`));
  });
});
