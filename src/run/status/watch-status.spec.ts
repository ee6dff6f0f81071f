import { Printer } from '../../report/printer';
import { Screen } from '../../report/screen.fixture';
import { StoreFixture } from '../../store/store.fixture';
import { until } from '../../system/until.fixture';
import type { RunRecord } from '../record/record';
import { putRecord, recordOf, RUN } from '../record/saved-run.fixture';
import { showStatus, type ShowStatusOptions } from './show-status';

describe('remote-status --watch', () => {
  let at: StoreFixture;
  const { CI, TERM } = process.env;
  beforeAll(async () => void (at = await StoreFixture.start()));
  afterAll(() => at.close());
  beforeEach(async () => {
    await at.empty();
    delete process.env.CI;
    process.env.TERM = 'xterm';
  });
  afterEach(() => {
    Object.assign(process.env, { TERM });
    if (CI !== undefined) process.env.CI = CI;
  });

  const put = (more: Partial<RunRecord>) => putRecord(at.store, at.keys(), recordOf(more));
  const running = (loss: number): Partial<RunRecord> => ({
    state: 'running',
    outcome: null,
    exitCode: null,
    endedAt: null,
    startedAt: Date.now(),
    since: Date.now(),
    attempts: [],
    metrics: { ...recordOf().metrics, training: { loss }, segments: 1 },
  });

  /** Starts a watch that prints to a terminal, or to a pipe. */
  function watch(isTTY: boolean, options: ShowStatusOptions = {}) {
    const screen = new Screen(120);
    let printed = '';
    const write = (text: string) => {
      printed += text;
      screen.write(text);
      return true;
    };
    const stdout = { isTTY, columns: 120, rows: 30, write, on: () => stdout, writableLength: 0 };
    const printer = new Printer({ stdout: stdout as never });
    const context = { store: at.store, keys: at.keys(), printer, project: 'model' };
    const leave = new AbortController();
    const ended = showStatus(context as never, { watch: true, interval: '1s', ...options }, leave.signal);
    return { screen, ended, leave, printer, text: () => printed };
  }

  const segment = (...losses: number[]) =>
    at.store.put(
      `${at.keys().run(RUN)}metrics/0`,
      Buffer.from(losses.map((loss, t) => `${JSON.stringify({ t, training: { loss } })}\n`).join('')),
    );

  it('draws the runs in place on a terminal, with the loss so far, and at last all of them', async () => {
    await put(running(0.25));
    await segment(1, 0.5, 0.25);
    const { screen, ended, text } = watch(true);
    await until(() => /running .* loss 0\.25 +█▃▁/.test(screen.text.join('\n')), { what: text });
    await put(running(0.125));
    await until(() => /loss 0\.125 +█▄▂▁/.test(screen.text.join('\n')), { what: text });
    expect(screen.text.filter((line) => line.startsWith(RUN))).toHaveLength(1);
    expect(screen.text.at(-2)).toMatch(/^\d\d:\d\d:\d\d UTC, every 1\.0 s\. Ctrl\+C leaves; the runs continue\.$/);
    await put({});
    expect(await ended).toMatchObject([{ id: RUN, state: 'ended' }]);
    expect(screen.text).toEqual([
      expect.stringMatching(/^RUN +STATE +AGE/),
      expect.stringMatching(new RegExp(`^${RUN} +succeeded`)),
      '',
    ]);
  });

  it('leaves the last table standing when it is interrupted', async () => {
    await put(running(0.25));
    const { screen, ended, leave, printer, text } = watch(true, { run: RUN });
    await until(() => /state +running/.test(screen.text.join('\n')), { what: text });
    printer.answer(undefined, 'Interrupted. Nothing was changed.');
    leave.abort(new Error('left'));
    await expect(ended).rejects.toThrow('left');
    expect(screen.text.join('\n')).toMatch(
      /^run +\S+\nstate +running[^]*runs continue\.\n+Interrupted\. Nothing was changed\.\n$/,
    );
    expect(text().split('\x1b[?7h').at(-1)).not.toContain('\x1b[?7l');
  });

  it.each([
    ['a pipe', false, {}],
    ['CI', true, { CI: 'true' }],
    ['a terminal that can not move the cursor', true, { TERM: 'dumb' }],
  ])('prints lines about what has changed to %s', async (_name, isTTY, environment) => {
    Object.assign(process.env, environment);
    await put({ ...running(0.25), state: 'setup' });
    const { ended, text } = watch(isTTY);
    await until(() => /setup/.test(text()), { what: text });
    await put(running(0.25));
    await until(() => new RegExp(`^\\d\\d:\\d\\d:\\d\\d ${RUN}: running, .*loss 0\\.25`, 'm').test(text()), {
      what: text,
    });
    await put({});
    await ended;
    expect(text()).not.toContain('\x1b');
    expect(text().match(/^RUN /gm)).toHaveLength(2);
    expect(text()).toMatch(new RegExp(`${RUN} +succeeded.*\n$`));
  });

  it.each([
    [{ interval: '5' }, '--interval=5: must be a duration from "1s" to "1h".'],
    [{ interval: '0.5s' }, '--interval=0.5s: must be a duration from "1s" to "1h".'],
    [{ interval: '2h' }, '--interval=2h: must be a duration from "1s" to "1h".'],
    [{ watch: false, interval: '5s' }, /^--interval is the time between two looks of --watch/],
    [{ limit: 0 }, '--limit=0: must be a whole number of at least 1.'],
  ])('refuses %j', async (options, message) => {
    await expect(watch(false, options).ended).rejects.toThrow(message);
  });
});
