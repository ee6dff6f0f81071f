import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import { describeOutcome } from '../status/outcome';
import { describeRun } from '../status/status';

const TESTS = join(__dirname, '../../runtime/tests');

/** With a stand-in for torch that has nothing but torchrun. */
describe('a training of several processes', () => {
  let at: Fixture;
  let pipe: Pipeline;
  let torch: string;

  beforeAll(async () => {
    at = await startPipeline();
    torch = join(at.directory, 'torch');
    execFileSync('python3', ['-B', '-c', 'import sys, torchrun; torchrun.write(sys.argv[1])', torch], {
      env: { ...process.env, PYTHONPATH: TESTS },
    });
  });
  afterAll(() => at.close());
  afterEach(() => pipe.close());

  const open = async (options: Record<string, unknown>) =>
    void (pipe = await new Pipeline(at, 'store').open({ env: { PYTHONPATH: torch }, ...options }));
  const train = async () => pipe.follow((await pipe.launch()).run);

  it('succeeds if all have, with the log and the metrics of rank 0 as without a launcher', async () => {
    await open({ launcher: 'torchrun', processes: 2 });
    pipe.write(
      'model/train.py',
      'import os\nrank = int(os.environ["RANK"])\nos.write(1, b"step 1 loss: %.1f\\n" % (0.5 + rank))\n',
    );
    const { run, log } = await train();
    expect(log.toString().split('\n').sort()).toEqual(
      expect.arrayContaining(['[rank 1] step 1 loss: 1.5', 'step 1 loss: 0.5']),
    );
    expect(run.outcome).toBe('succeeded');
    expect(run.metrics.training).toEqual({ step: 1, loss: 0.5 });
    expect(run.launcher).toEqual({ name: 'torchrun', processes: 2 });
    expect(run.metadata.configuration).toMatchObject({ launcher: { name: 'torchrun', processes: 2 } });
    expect(describeRun({ ...run, heard: 0, silent: false })).toContain('launcher    torchrun, 2 processes');
  });

  it('fails with the code and the last lines of the process that failed first', async () => {
    await open({ launcher: 'torchrun', processes: 2 });
    pipe.write(
      'model/train.py',
      'import os, sys, time\nif os.environ["RANK"] == "1": sys.exit("no batch is left")\ntime.sleep(600)\n',
    );
    const { run, log } = await train();
    expect(describeOutcome(run)).toMatch(/^failed after .*: rank 1 of 2 failed first \(exited with 1\)$/);
    expect(log.toString()).toContain('nx-ec2: [rank 1] no batch is left\n');
  });

  it('is another training with another number of processes, and the same as before without a launcher', async () => {
    const keyOf = async (options: Record<string, unknown>) => {
      await pipe.open({ env: { PYTHONPATH: torch }, ...options });
      const { run } = await pipe.launch();
      await pipe.follow(run);
      return run.runKey;
    };
    await open({});
    pipe.write('model/train.py', '');
    const plain = await keyOf({});
    expect(await keyOf({ launcher: 'none' })).toBe(plain);
    const two = await keyOf({ launcher: 'torchrun', processes: 2 });
    const three = await keyOf({ launcher: 'torchrun', processes: 3 });
    expect(new Set([plain, two, three]).size).toBe(3);
  });

  it('is told that torch is missing, and where to add it', async () => {
    await open({ launcher: 'torchrun', env: { PYTHONPATH: '' } });
    pipe.write('model/train.py', '');
    pipe.write('model/requirements.txt', '');
    const { run } = await train();
    expect(run.failure?.code).toBe('TORCH_MISSING');
    expect(describeOutcome(run)).toContain('the environment of model/requirements.txt was used: add the package to it');
  });
});
