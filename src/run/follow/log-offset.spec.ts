import type { RunContext } from '../../context/types';
import { putUnreadable } from '../../local-aws/unreadable.fixture';
import { StoreFixture } from '../../store/store.fixture';
import { recordOf, RUN } from '../record/saved-run.fixture';
import { startOfLog } from './log-offset';

const MINUTE = 60_000;

describe('where a log begins with --since', () => {
  let at: StoreFixture;
  beforeAll(async () => void (at = await StoreFixture.start()));
  afterAll(() => at.close());

  const start = async (times: [number, number][], state: 'ended' | 'running') => {
    const keys = at.keys();
    const now = Date.now();
    const before = times.map(([ago, size]) => [now - ago, size]);
    await at.store.put(`${keys.run(RUN)}times.json`, Buffer.from(JSON.stringify({ times: before })));
    const record = recordOf({ state, log: { size: 1_000, training: 0, truncated: false, hashes: null } });
    return startOfLog({ store: at.store, keys, printer }, record, { since: '10m' });
  };
  const said: string[] = [];
  const printer = { warn: (text: string) => void said.push(text) } as RunContext['printer'];

  it('is the beginning if the times are too large or can’t be read, which is said', async () => {
    const key = `${at.keys().run(RUN)}times.json`;
    const from = () => startOfLog({ store: at.store, keys: at.keys(), printer }, recordOf(), { since: '10m' });
    await at.store.put(key, Buffer.alloc(300_000, ' '));
    expect(await from()).toBe(0);
    await putUnreadable(at.local, key, 'customer key');
    expect(await from()).toBe(0);
    expect(said.splice(0)).toEqual([
      expect.stringMatching(/^The log is shown from its beginning, because --since .*times\.json is too large/),
      expect.stringMatching(
        /^The log is shown from its beginning, because --since .*times\.json and does not return it/,
      ),
    ]);
  });

  it('is the last recorded place before that time', async () => {
    const times: [number, number][] = [
      [30 * MINUTE, 200],
      [20 * MINUTE, 400],
      [5 * MINUTE, 600],
    ];
    expect(await start(times, 'ended')).toBe(400);
  });

  it('is never after the end that the signed record of an ended run names, since the times are not signed', async () => {
    expect(await start([[20 * MINUTE, 5_000_000]], 'ended')).toBe(1_000);
  });

  it('may be after the end that the record of an active run names, since the log has grown', async () => {
    expect(await start([[20 * MINUTE, 1_500]], 'running')).toBe(1_500);
  });
});
