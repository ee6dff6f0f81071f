import type { RunFacts } from '../../command/plan';
import { Problem } from '../../report/problem';
import type { RunContext } from '../../context/types';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { until } from '../../system/until.fixture';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import { HEARTBEAT_TIMEOUT_MS, UNREACHABLE_TIMEOUT_MS } from '../record/liveness';
import { Silence } from './silence';
import { cancelRun } from '../stop/cancel';

jest.mock('../record/liveness', () => ({
  ...jest.requireActual<object>('../record/liveness'),
  HEARTBEAT_TIMEOUT_MS: 12_000,
  UNREACHABLE_TIMEOUT_MS: 4_000,
}));

describe('a run whose processes are all dead, on an instance that EC2 calls running', () => {
  let at: Fixture;
  let pipe: Pipeline;
  beforeAll(async () => void (at = await startPipeline()));
  afterAll(() => at.close());
  beforeEach(() => void (pipe = new Pipeline(at, 'store')));
  afterEach(() => {
    at.aws.instances.agentDelay = 0;
    pipe.close();
  });

  /** Starts a training and kills all that runs in its instance, its watchdog too. */
  async function startAndKill(): Promise<RunFacts> {
    pipe.write('model/train.py', 'import time\nprint("begun", flush=True)\ntime.sleep(600)\n');
    const id = await pipe.openSpot();
    const { run, settled } = await pipe.launch();
    await settled;
    const { instances } = at.aws;
    await until(() => {
      const left = instances.processes(id);
      left.forEach((pid) => process.kill(pid, 'SIGKILL'));
      return left.length === 0;
    });
    pipe.age(run.id, HEARTBEAT_TIMEOUT_MS + 1_000);
    return run;
  }

  it('is lost if its agent answers', async () => {
    const run = await startAndKill();
    const { run: ended } = await pipe.follow(run);
    expect(ended).toMatchObject({ outcome: 'lost', failure: { code: 'SUPERVISOR_LOST' } });
  });

  it('is not waited for without end if it hangs and its agent answers, neither by a client that cancels it', async () => {
    pipe.write('model/train.py', 'import time\nprint("begun", flush=True)\ntime.sleep(600)\n');
    const id = await pipe.openSpot();
    const { run, settled } = await pipe.launch();
    await settled;
    const { instances } = at.aws;
    await until(() => instances.processes(id).length > 2);
    // Supervisor, reporter and training; what answers commands is started for each of them.
    const frozen = instances.processes(id);
    frozen.forEach((pid) => process.kill(pid, 'SIGSTOP'));
    try {
      pipe.age(run.id, HEARTBEAT_TIMEOUT_MS + 1_000);
      const silent = { code: 'RUN_SILENT', message: expect.stringContaining('answers, but the run') };
      await expect(pipe.follow(run)).rejects.toMatchObject(silent);
      await expect(cancelRun(pipe.context, run, undefined)).rejects.toMatchObject(silent);
    } finally {
      frozen.forEach((pid) => process.kill(pid, 'SIGCONT'));
    }
  });

  it('is not followed without end if nothing answers, and the message names what ends the instance', async () => {
    const run = await startAndKill();
    at.aws.instances.agentDelay = 1e12;
    await expect(pipe.follow(run)).rejects.toMatchObject({
      code: 'RUN_SILENT',
      message: expect.stringMatching(
        new RegExp(
          `Nothing was heard of ${run.id} for [^]*${run.instance} is running, as EC2 says, but neither writes[^]*remote-down[^]*${run.id} was not stopped\\.`,
        ),
      ),
    });
    expect(pipe.said.filter((text) => text.startsWith(`Nothing is heard of ${run.id}: ${run.instance}`))).toHaveLength(
      1,
    );
  });
});

describe('The silence of a run', () => {
  const run = { id: 'run', instance: 'i-1' } as RunFacts;
  const why = new Problem('INSTANCE_OFFLINE', 'It is offline.\nmore');
  let now = 0;
  let lines: string[] = [];
  beforeEach(() => {
    [now, lines] = [1_000, []];
    jest.spyOn(performance, 'now').mockImplementation(() => now);
  });
  afterEach(() => void jest.restoreAllMocks());
  const silence = (instance: object) =>
    new Silence({
      project: 'model',
      configuration: { instance },
      printer: { line: (text: string) => lines.push(text), detail: () => undefined },
    } as unknown as RunContext);

  it('ends when the run is heard of again, and is counted from its start the next time', () => {
    const it = silence({ id: 'i-1' });
    it.end(run);
    it.continue(run, why);
    now += UNREACHABLE_TIMEOUT_MS - 1;
    it.continue(run, why);
    it.end(run);
    it.end(run);
    now += 1;
    it.continue(run, why);
    expect(lines.map((text) => text.slice(0, 20))).toEqual([
      'Nothing is heard of ',
      'run is heard of agai',
      'Nothing is heard of ',
    ]);
    now += UNREACHABLE_TIMEOUT_MS;
    // Nothing here launched it.
    expect(() => it.continue(run, why)).toThrow(
      expect.objectContaining({ code: 'RUN_SILENT', next: expect.stringContaining('reboot it in EC2') }),
    );
  });

  it('ends while the reporter counts, and not where the instance only says that the run has not ended', () => {
    const it = silence({ tag: 'x' });
    const report = (heartbeat?: number) => ({ saved: false, heartbeat });
    for (const count of [1, 2, 3]) {
      it.answered(run, false, report(count));
      now += HEARTBEAT_TIMEOUT_MS;
    }
    // One that says no count, and one before its first write.
    it.answered(run, false, report());
    now += HEARTBEAT_TIMEOUT_MS + 1;
    it.answered(run, false, null);
    it.answered(run, false, report(3));
    expect(lines).toEqual([]);
    now += HEARTBEAT_TIMEOUT_MS + 1;
    it.answered(run, false, report(3));
    expect(lines).toEqual([expect.stringContaining('answers, but')]);
    it.answered(run, true, report(3));
    expect(lines).toHaveLength(2);
    now += HEARTBEAT_TIMEOUT_MS + 1;
    it.answered(run, false, report(3));
    now += UNREACHABLE_TIMEOUT_MS;
    expect(() => it.answered(run, false, report(3))).toThrow(expect.objectContaining({ code: 'RUN_SILENT' }));
  });
});
