import { PassThrough } from 'node:stream';
import { Workshop } from '../executors/lib/executor-harness.fixture';
import { Printer } from '../report/printer';
import type * as Library from '../system/nx-library';
import type * as Runs from './runs';
import { exitCodeOf } from './run-exit-code';

jest.mock('../system/nx-library', () => ({
  nxLibrary: {
    ...jest.requireActual<typeof Library>('../system/nx-library').nxLibrary,
    projectGraph: () => ({
      readCachedProjectGraph: () => mockGraph,
      createProjectGraphAsync: async () => mockGraph,
    }),
  },
}));
const mockGraph = { nodes: { model: { name: 'model', data: { root: 'model' } } } };
// Each starts a run.
describe('nx-ec2 runs', () => {
  let shop: Workshop;
  beforeAll(async () => {
    shop = await Workshop.open();
    shop.write('nx.json', JSON.stringify({ plugins: [{ plugin: 'nx-ec2', options: { bucket: 'bucket' } }] }));
    shop.write('model/ec2.config.json', JSON.stringify({ instance: { id: shop.instance } }));
  });
  afterAll(() => shop.close());
  afterEach(() => {
    process.exitCode = undefined;
  });

  /** Loaded once Nx's workspace is this one. */
  const verbs = async (name = 'runs') => (await import(`./${name}`)) as typeof Runs;
  /** What a verb prints for machines and for people, and the exit code that it sets. */
  const verb = async (work: (verbs: typeof Runs, printer: Printer) => Promise<void>) => {
    process.exitCode = undefined;
    const [stdout, stderr] = [new PassThrough(), new PassThrough()] as unknown as NodeJS.WriteStream[];
    const error = await work(await verbs(), new Printer({ json: true, plain: true, stdout, stderr })).then(
      () => null,
      (reason: Error & { exitCode: number }) => reason,
    );
    const read = (stream: NodeJS.WriteStream) => String((stream as unknown as PassThrough).read() ?? '');
    return { json: JSON.parse(read(stdout)), text: read(stderr), exitCode: process.exitCode, error };
  };
  const submit = (script: string) =>
    shop.run<{ run: string }>('remote-submit', {
      json: true,
      train: { command: ['sh', '-c', script], environment: 'none' },
    });

  it('wait, show the log, and exit with the exit code of the run; stdout is one JSON object', async () => {
    const { run } = await submit('echo trained; sleep 1; exit 3');
    const facts = { run, success: false, outcome: 'failed', exitCode: 3, signal: null };
    const waited = await verb(({ runsWait }, printer) => runsWait(run, {}, printer));
    expect(waited).toMatchObject({ json: facts, exitCode: 3, error: null });
    expect(waited.text).toMatch(/^The training \S+ exited with 3 after \d/);
    const logs = await verb(({ runsLogs }, printer) => runsLogs('last', { project: 'model' }, printer));
    expect(logs).toMatchObject({ json: facts, exitCode: 3, text: expect.stringContaining('trained\n') });
    const list = await verb(({ runsList }, printer) => runsList({ project: 'model' }, printer));
    expect(list).toMatchObject({ json: { success: true, runs: [{ id: run, exitCode: 3 }] }, exitCode: undefined });
    expect(list.text).toContain('INSTANCE');
    const status = await verb(({ runsStatus }, printer) => runsStatus('last', { project: 'model' }, printer));
    expect(status).toMatchObject({ json: { success: true, runs: [{ id: run, exitCode: 3 }] }, exitCode: undefined });
    expect(status.text).not.toContain('INSTANCE');
  });

  it('exit with 125 if the outcome of the run is not known, with the error as JSON', async () => {
    const unknown = '20260101-000000-model-aaaaaa';
    const missing = await verb(({ runsWait }, printer) => runsWait(unknown, {}, printer));
    expect(missing).toMatchObject({ json: { success: false, error: { code: 'NO_RUN' } }, error: { exitCode: 125 } });
    for (const limit of ['0', '-1', 'x'])
      expect(await verb(({ runsList }, printer) => runsList({ project: 'model', limit }, printer))).toMatchObject({
        json: { success: false, error: { code: 'OPTION_INVALID' } },
        error: { exitCode: 125 },
      });
    for (const [run, options, code] of [
      [undefined, {}, 'PROJECT_MISSING'],
      [unknown, { tail: 'x' }, 'OPTION_INVALID'],
      ['20260101-000000-other-aaaaaa', {}, 'NO_PROJECT'],
      ['latest', { project: 'model' }, 'RUN_ID'],
    ] as const) {
      const { json, error } = await verb(({ runsLogs }, printer) => runsLogs(run, options, printer));
      expect(json.error.code).toBe(code);
      expect(error!.exitCode).toBe(125);
    }
  });

  it('leave the run alone when they get a signal', async () => {
    const { run } = await submit('exec sleep 60');
    const waiting = verb(({ runsWait }, printer) => {
      const waited = runsWait(run, {}, printer);
      process.emit('SIGINT', 'SIGINT');
      return waited;
    });
    expect(await waiting).toMatchObject({ json: { error: { code: 'DETACHED' } }, error: { exitCode: 130 } });
    await shop.run('remote-cancel', { run });
    const { exitCode } = await verb(({ runsWait }, printer) => runsWait(run, {}, printer));
    expect(exitCode).toBe(143);
  });
});

describe('the exit code of a run', () => {
  it.each([
    ['succeeded', 0, null, 0],
    ['failed', 7, null, 7],
    ['failed', null, 'SIGKILL', 137],
    ['cancelled', 0, null, 1],
    ['timed-out', null, 'SIGTERM', 143],
    ['lost', null, null, 1],
    ['setup-failed', null, 'SIGNONSENSE', 1],
  ] as const)('%s, exited with %s, killed by %s: %i', (outcome, exitCode, signal, expected) => {
    expect(exitCodeOf({ outcome, exitCode, signal })).toBe(expected);
  });
});
