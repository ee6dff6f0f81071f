import type { RunFacts } from '../../command/plan';
import { Problem } from '../../report/problem';
import type { RunContext } from '../../context/types';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { until } from '../../system/until.fixture';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import { HEARTBEAT_TIMEOUT_MS, UNREACHABLE_TIMEOUT_MS } from '../record/liveness';
import { Silence } from './silence';

jest.mock('../record/liveness', () => ({
  ...jest.requireActual<object>('../record/liveness'),
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

  it('is not followed without end if nothing answers, and the message names what ends the instance', async () => {
    const run = await startAndKill();
    at.aws.instances.agentDelay = 1e12;
    await expect(pipe.follow(run)).rejects.toMatchObject({
      code: 'RUN_SILENT',
      message: expect.stringMatching(
        new RegExp(
          `Nothing was heard of ${run.id} for [^]*${run.instance} neither writes[^]*remote-down[^]*${run.id} was not stopped\\.`,
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
});
