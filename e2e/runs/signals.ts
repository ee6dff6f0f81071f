import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../src/system/until.fixture';
import type { World } from '../worlds';
import { begin, ENDLESS, outcome } from './training';

const ID = /\d{8}-\d{6}-[a-z0-9-]+-[a-z2-7]{6}/;

/** What signals to a target do to its run. */
export function signals(at: () => World): void {
  const started = async (name: string, train: object = {}) => {
    const world = at();
    const { nx } = world;
    begin(world, name, ENDLESS, { train: { gracePeriod: '1s', ...train } });
    const running = nx.run([`${name}:remote-train`, '--json']);
    await running.said('begun');
    return {
      nx,
      running,
      async hasEnded() {
        expect(await running.ended).not.toBe(0);
      },
    };
  };

  it.concurrent('a signal detaches from the run, and the message says how to attach again', async () => {
    const { nx, running, hasEnded } = await started('once');
    running.kill('SIGTERM');
    await hasEnded();
    const { id, text, result } = running;
    expect(text).toContain(`Detached: ${id} continues`);
    expect(text).toContain(`nx run once:remote-logs --run=${id}`);
    expect(result).toMatchObject({ success: false, error: { code: 'DETACHED' } });
    const status = await nx.run(['once:remote-status', '--run=last', '--json']).ends(0);
    expect(status.result.runs[0]).toMatchObject({ id, state: 'running' });
    const cancelled = await nx.run(['once:remote-cancel', '--json']).ends(0);
    expect(cancelled.result).toMatchObject({ run: id, outcome: 'cancelled', already: false });
  });

  it.concurrent('"onSignal": "stop": a signal stops it', async () => {
    const { nx, running, hasEnded } = await started('stops', { onSignal: 'stop' });
    running.kill('SIGTERM');
    await hasEnded();
    expect(running.text).toContain('Ctrl+C stops it');
    expect(running.text).toContain(`${running.id} is asked to stop`);
    expect(running.result.error.code).toBe('STOPPED');
    expect(await outcome(nx, 'stops', running.id)).toBe('cancelled');
  });

  it.concurrent('two signals stop the run, even if Nx shows no more output', async () => {
    const { nx, running, hasEnded } = await started('twice');
    running.kill('SIGINT');
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    running.kill('SIGINT');
    await hasEnded();
    expect(await outcome(nx, 'twice', running.id)).toBe('cancelled');
  });

  it.concurrent('Ctrl+C prints its message if the output of Nx is a file', async () => {
    const world = at();
    const { nx } = world;
    begin(world, 'to-file', ENDLESS, { train: { gracePeriod: '1s' } });
    const file = join(nx.workspace, 'to-file.txt');
    const running = nx.startToFile(['to-file:remote-train', '--json'], file);
    const ended = new Promise((resolve) => running.once('close', resolve));
    await until(() => readFileSync(file, 'utf8').includes('begun'));
    running.kill('SIGINT');
    await ended;
    const text = await until(() => /Detached: [^]*DETACHED[^]*/.exec(readFileSync(file, 'utf8'))?.[0]);
    const id = ID.exec(text)![0];
    expect(text).toContain(`Detached: ${id} continues`);
    expect(text).toContain(`nx run to-file:remote-logs --run=${id}`);
    await nx.run(['to-file:remote-cancel', `--run=${id}`]).ends(0);
  });

  it.concurrent.each([
    ['once', 1, /Detached: (\S+) continues[^]*remote-logs --run=\1[^]*press Ctrl\+C again/, 'running'],
    ['twice', 2, /Detached: (\S+) continues[^]*\1 is asked to stop/, 'ended'],
  ])('Ctrl+C %s in a terminal says what happens to the run', async (name, times, says, state) => {
    const world = at();
    const { nx } = world;
    begin(world, `terminal-${name}`, ENDLESS, { train: { gracePeriod: '1s' } });
    const target = `terminal-${name}:remote-train`;
    const { status, text } = await nx.onTerminal('begun', times, [target, '--outputStyle=stream']);
    expect(text).toMatch(says);
    expect(status).not.toBe(0);
    const id = ID.exec(text)![0];
    if (state === 'running') await nx.run([`terminal-${name}:remote-cancel`, `--run=${id}`]).ends(0);
    else expect(await outcome(nx, `terminal-${name}`, id)).toBe('cancelled');
  });

  it.concurrent(
    "Ctrl+C in Nx's default output style detaches from the run, and no message offers a second one",
    async () => {
      const world = at();
      const { nx } = world;
      begin(world, 'terminal-default', ENDLESS, { train: { gracePeriod: '1s' } });
      const { status, text } = await nx.onTerminal('begun', 2, ['terminal-default:remote-train']);
      expect(status).not.toBe(0);
      expect(text).toContain('Ctrl+C leaves it running; come back with the same command');
      expect(text).not.toMatch(/twice|again within/);
      const id = ID.exec(text)![0];
      const { result } = await nx.run(['terminal-default:remote-status', `--run=${id}`, '--json']).ends(0);
      expect(result.runs[0]).toMatchObject({ id, state: 'running' });
      await nx.run(['terminal-default:remote-cancel', `--run=${id}`]).ends(0);
    },
  );
}
