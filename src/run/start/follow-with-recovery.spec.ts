import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { Problem } from '../../report/problem';
import { collectArtifacts } from '../artifacts/collect';
import { cancelInterrupted } from '../record/cancel-interrupted';
import { resumeBlocker } from '../record/interruption';
import { cancelRun } from '../stop/cancel';
import { assertSucceeded } from '../status/outcome';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import { readRecord, type RunRecord } from '../record/record';
import { followWithRecovery, resumeOrFollow } from './follow-with-recovery';
import { SEGMENT_BYTES } from '../record/stored-log';
import { waitForLeaseExpiry } from '../record/lease';
import { steadyNow } from '../../system/moment';
import { until } from '../../system/until.fixture';

const STEPS = 30;

/** Each step makes of all steps before it a hash; a checkpoint each third step, and at SIGTERM, as `--save` asks. */
const TRAINING = (seconds: number) => `
import hashlib, os, signal, sys, time
at = os.environ["NX_EC2_CHECKPOINT_DIR"]
done = max([int(name[5:]) for name in os.listdir(at) if name.startswith("step-") and name[5:].isdigit()] + [0])
state = open(os.path.join(at, "step-%d" % done)).read() if done else ""
print("attempt", os.environ["NX_EC2_ATTEMPT"], "from", done, flush=True)

def save(n):
    path = os.path.join(at, "step-%d" % n)
    open(path + ".tmp", "w").write(state)
    os.rename(path + ".tmp", path)
    open(path + ".complete", "w").close()

left = []
signal.signal(signal.SIGTERM, lambda *_: left.append(time.time()))
for n in range(done + 1, ${STEPS + 1}):
    time.sleep(${seconds})
    state = hashlib.sha256(("%s %d" % (state, n)).encode()).hexdigest()
    print("step %d %s %s" % (n, state, "x" * 3000), flush=True)
    if n % 3 == 0 or left:
        save(n)
    if left:
        print("SIGTERM at %.3f" % left[0], flush=True)
        sys.exit(0)
open("artifacts/result", "w").write(state)
`;

describe('a training on spot instances', () => {
  let at: Fixture;
  let pipe: Pipeline;
  beforeAll(async () => void (at = await startPipeline()));
  afterAll(() => at.close());
  beforeEach(() => void (pipe = new Pipeline(at, 'store')));
  afterEach(() => pipe.close());

  const shown = () => Buffer.concat(pipe.logged).toString();
  const steps = (log: string) => [...log.matchAll(/^step (\d+) /gm)].map(([, n]) => Number(n));
  const terminate = (id: string) => at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
  /** The log as the store has it. */
  const stored = async (run: RunRecord) => {
    const { store, keys } = pipe.context;
    const pieces: Buffer[] = [];
    for (let n = 0; n * SEGMENT_BYTES < run.log.size; n++)
      pieces.push((await store.get(`${keys.run(run.id)}log/${n}`, SEGMENT_BYTES))!);
    return Buffer.concat(pieces).toString();
  };
  /** Follows over instances; `replaced` are told. */
  const follow = async (launched: Awaited<ReturnType<Pipeline['launch']>>, replaced: (gone: RunRecord) => void) =>
    followWithRecovery(pipe.context, launched, {
      signal: new AbortController().signal,
      recovery: {
        continueRun: async (gone, next) => {
          replaced(gone);
          await terminate(gone.instance);
          await pipe.openSpot();
          await waitForLeaseExpiry(pipe.context, gone.id);
          return pipe.launch({}, next);
        },
      },
    });

  it('interrupted three times, has the result of an uninterrupted one, bit for bit, and one log', async () => {
    pipe.write('model/train.py', TRAINING(0));
    await pipe.open();
    const { run: whole } = await pipe.follow((await pipe.launch()).run);
    await collectArtifacts(pipe.context, whole);
    const result = readFileSync(join(pipe.workspace, 'model/artifacts/result'), 'utf8');
    rmSync(join(pipe.workspace, 'model/artifacts'), { recursive: true });

    pipe.write('model/train.py', TRAINING(0.4));
    const instances = [await pipe.openSpot()];
    const launched = await pipe.launch();
    const measured: Record<string, number>[] = [];
    let noticed = 0;
    let over = false;
    const interrupting = (async () => {
      for (const attempt of [1, 2, 3]) {
        await until(() => over || steps(shown().split(`attempt ${attempt} from`)[1] ?? '').length > 1);
        if (over) return;
        noticed = Date.now();
        at.aws.interrupt(pipe.context.instance, { noticeMs: 60_000 });
      }
    })();
    const ended = await follow(launched, (gone) => {
      const saved = Date.now();
      const sigterm = Number([...shown().matchAll(/SIGTERM at ([\d.]+)/g)].at(-1)![1]) * 1000;
      measured.push({ sigterm: sigterm - noticed, saved: saved - noticed });
      expect(gone).toMatchObject({ outcome: 'interrupted', stop: { reason: 'interruption' }, access: 'role' });
      void until(() => pipe.context.instance !== gone.instance).then(() => instances.push(pipe.context.instance));
    });
    over = true;
    await interrupting;

    expect(ended).toMatchObject({ outcome: 'succeeded', exitCode: 0, attempt: 4, id: launched.run.id });
    expect(ended.attempts.map(({ n, instance, why }) => [n, instance, why])).toEqual(
      instances.map((id, n) => [n + 1, id, n < 3 ? `${id} was interrupted` : null]),
    );
    expect(new Set(instances).size).toBe(4);
    await collectArtifacts(pipe.context, ended);
    expect(readFileSync(join(pipe.workspace, 'model/artifacts/result'), 'utf8')).toBe(result);
    // A checkpoint was saved at each SIGTERM: no step is done twice.
    expect(steps(shown())).toEqual(Array.from({ length: STEPS }, (_, n) => n + 1));
    expect(await stored(ended)).toBe(shown());
    for (const { sigterm } of measured) expect(sigterm).toBeLessThan(5_000);
    expect(pipe.said.filter((text) => /was taken away; its last checkpoint is "step-\d+"/.test(text))).toHaveLength(3);
    if (process.env.NX_EC2_MEASURE)
      console.log(
        measured,
        pipe.said.filter((text) => /later$/.test(text)),
      );
  });

  it('interrupted without notice, resumes from the last saved checkpoint', async () => {
    pipe.write('model/train.py', TRAINING(0.3));
    const first = await pipe.openSpot();
    const launched = await pipe.launch();
    let lost = Infinity;
    const taken = until(() => steps(shown()).includes(8)).then(async () => {
      lost = steadyNow();
      await terminate(first);
    });
    const next = taken.then(() => until(() => shown().includes('attempt 2 from'))).then(() => steadyNow() - lost);
    const ended = await follow(launched, (gone) => expect(gone).toMatchObject({ outcome: 'lost' }));
    const lostFor = await next;
    if (process.env.NX_EC2_MEASURE) console.log(`attempt 2 printed ${lostFor} ms after the loss`);
    expect(ended).toMatchObject({ outcome: 'succeeded', attempt: 2 });
    expect(ended.attempts[0]).toMatchObject({ instance: first, why: `${first} sent no more heartbeats` });
    const log = await stored(ended);
    const repeated = steps(log).filter((n, index, all) => all.indexOf(n) !== index);
    const from = Number(/^attempt 2 from (\d+)$/m.exec(log)![1]);
    expect(from).toBeGreaterThan(0);
    expect(repeated.every((n) => n > from)).toBe(true);
    // A line of the last half second goes with the instance, also where the checkpoint that came with it was saved.
    const gone = Array.from({ length: STEPS }, (_, n) => n + 1).filter((n) => !steps(log).includes(n));
    expect(gone.length).toBeLessThanOrEqual(2);
    expect(gone.every((n) => n > 2 && n <= from)).toBe(true);
    // What was shown and not saved by the time is gone; all that was saved is shown once.
    expect(shown().endsWith(log.slice(log.indexOf('attempt 2')))).toBe(true);
    expect(pipe.said.join('\n')).toContain('was taken away without notice');
    if (process.env.NX_EC2_MEASURE)
      console.log(
        'steps repeated',
        repeated,
        pipe.said.filter((text) => /later$/.test(text)),
      );
  });

  it('interrupted without a follower, is resumed by the same command, but not with --rerun', async () => {
    pipe.write('model/train.py', TRAINING(0.2));
    const first = await pipe.openSpot();
    const { run, settled } = await pipe.launch();
    await settled;
    const leaving = new AbortController();
    const left = pipe.follow(run, { signal: leaving.signal, onLog: (data) => void pipe.logged.push(data) });
    left.catch(() => undefined);
    await until(() => steps(shown()).includes(4));
    leaving.abort();
    at.aws.interrupt(first, { noticeMs: 20_000 });
    const { store, keys } = pipe.context;
    for (;;) if ((await readRecord(store, keys, run.id))?.record.state === 'ended') break;
    await terminate(first);
    await pipe.openSpot();
    const again = await pipe.launch();
    expect(again).toMatchObject({ attached: false, run: { id: run.id, attempt: 2 } });
    expect(pipe.said.join('\n')).toContain(`${run.id} was interrupted on ${first}; resuming it`);
    // A third finds it.
    expect(await pipe.launch()).toMatchObject({ attached: 'running', run: { id: run.id } });
    const { run: ended } = await pipe.follow(again.run);
    expect(ended).toMatchObject({ outcome: 'succeeded', attempt: 2 });
  });

  describe('cancelled between two attempts', () => {
    const interrupted = async () => {
      pipe.write('model/train.py', TRAINING(0.2));
      const first = await pipe.openSpot();
      const launched = await pipe.launch();
      void until(() => steps(shown()).includes(3)).then(() => at.aws.interrupt(first, { noticeMs: 20_000 }));
      return launched;
    };
    const cancel = (gone: RunRecord) => cancelRun(pipe.context, gone, undefined);

    it('is not resumed, and the same command starts another run', async () => {
      const launched = await interrupted();
      const { run: gone } = await pipe.follow(launched.run, { onLog: (data) => void pipe.logged.push(data) });
      const cancelled = await cancel(gone);
      expect(cancelled).toMatchObject({ already: false, run: { outcome: 'cancelled', stop: { reason: 'cancelled' } } });
      expect(await cancel(cancelled.run as RunRecord)).toMatchObject({ already: true });
      expect(await follow(launched, () => expect('resumed').toBe('not resumed'))).toMatchObject({
        outcome: 'cancelled',
        attempt: 1,
      });
      await terminate(gone.instance);
      await pipe.openSpot();
      const again = await pipe.launch();
      expect(again.run.id).not.toBe(gone.id);
    });

    it('while its next instance starts, is refused there', async () => {
      const launched = await interrupted();
      let refused: unknown;
      const ended = await followWithRecovery(pipe.context, launched, {
        signal: new AbortController().signal,
        recovery: {
          continueRun: async (gone, next) => {
            await terminate(gone.instance);
            await pipe.openSpot();
            await cancel(gone);
            return pipe.launch({}, next).catch((error: unknown) => {
              refused = error;
              throw error;
            });
          },
        },
      });
      expect(refused).toMatchObject({ code: 'NOT_RESUMABLE' });
      expect(ended).toMatchObject({ outcome: 'cancelled', attempt: 1 });
    });

    it('is cancelled although its instance is gone without notice', async () => {
      pipe.write('model/train.py', TRAINING(0.2));
      const first = await pipe.openSpot();
      const { run } = await pipe.launch();
      const { store, keys } = pipe.context;
      await until(async () => (await readRecord(store, keys, run.id))?.record.state === 'running');
      await terminate(first);
      await until(() => at.aws.instances.get(first)!.state === 'terminated');
      const { record } = (await readRecord(store, keys, run.id))!;
      expect(await cancel(record)).toMatchObject({ already: false, run: { outcome: 'cancelled', state: 'ended' } });
      expect((await readRecord(store, keys, run.id))!.record).toMatchObject({ outcome: 'cancelled', state: 'ended' });
    });
  });

  it('that has succeeded since it was found interrupted is not cancelled', async () => {
    pipe.write('model/train.py', TRAINING(0));
    await pipe.openSpot();
    const { run: ended } = await pipe.follow((await pipe.launch()).run);
    const stale: RunRecord = {
      ...(ended as RunRecord),
      outcome: 'interrupted',
      stop: { reason: 'interruption', at: 1 },
    };
    expect(await cancelInterrupted(pipe.context, stale)).toBeNull();
    const { store, keys } = pipe.context;
    expect((await readRecord(store, keys, ended.id))!.record.outcome).toBe('succeeded');
  });

  it('is followed on where another command has resumed it first', async () => {
    pipe.write('model/train.py', TRAINING(0.2));
    const first = await pipe.openSpot();
    const launched = await pipe.launch();
    void until(() => steps(shown()).includes(3)).then(() => at.aws.interrupt(first, { noticeMs: 20_000 }));
    const { signal } = new AbortController();
    let interrupted!: RunRecord;
    const ended = await followWithRecovery(pipe.context, launched, {
      signal,
      recovery: {
        continueRun: async (gone, next) => {
          interrupted = gone;
          await terminate(gone.instance);
          await pipe.openSpot();
          await pipe.launch({}, next);
          throw new Problem('INSTANCE_GONE', 'The instance that this command has launched is terminated.');
        },
      },
    });
    expect(ended).toMatchObject({ outcome: 'succeeded', attempt: 2 });
    expect(pipe.said.join('\n')).toContain(`Another command has resumed ${launched.run.id}: attempt 2, on `);
    expect(steps(shown())).toEqual(Array.from({ length: STEPS }, (_, n) => n + 1));

    // A command that has found the run interrupted, and could not resume it, finds the same.
    const fails = () => Promise.reject(new Problem('INSTANCE_NOT_RUNNING', 'The instance is terminated.'));
    expect(await resumeOrFollow(pipe.context, interrupted, signal, fails)).toMatchObject({ run: { attempt: 2 } });
    await expect(resumeOrFollow(pipe.context, ended, signal, fails)).rejects.toThrow('is terminated');
  });

  it("that saves by a form can't be resumed, and the message says why", async () => {
    pipe.write('model/train.py', TRAINING(0.3));
    const first = await pipe.openSpot({ storeAccess: 'presigned' });
    const launched = await pipe.launch();
    void until(() => steps(shown()).includes(4)).then(() => at.aws.interrupt(first, { noticeMs: 20_000 }));
    const ended = await follow(launched, () => expect('replaced').toBe('not replaced'));
    expect(ended).toMatchObject({ outcome: 'interrupted', access: 'presigned' });
    expect(resumeBlocker(ended)).toBeInstanceOf(Problem);
    expect(() => assertSucceeded(ended, 'model')).toThrow(
      expect.objectContaining({
        code: 'RUN_INTERRUPTED',
        next: expect.stringMatching(/presigned form[^]*--resumeFrom=/) as string,
      }),
    );
    await terminate(first);
  });
});
