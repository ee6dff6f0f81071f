import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { collectArtifacts } from './artifacts/collect';
import { Pipeline, startPipeline } from './pipeline.fixture';
import { wantedCheckpoints, type PullSelection } from './artifacts/pull-selection';
import { readRecord, type RunRecord } from './record/record';
import { followWithRecovery } from './start/follow-with-recovery';
import { resumePoint } from './start/checkpoint-to-restore';
import { describeRun, oneStatus } from './status/status';
import { describeStart } from './start/describe-start';

/**
 * What the scripts share: a training whose result depends on each step and on the state of the random numbers. The first
 * attempt waits in the middle for what takes its instance away.
 */
const COMMON = `
import glob, json, os, pickle, random, re, shutil, sys, time

STEPS = 24
random.seed(1)

def step(weights):
    if n == 19 and os.environ.get("NX_EC2_ATTEMPT") == "1":
        time.sleep(600)
    return [weight * 0.9 + random.gauss(0, 1) for weight in weights]
`;

/** Files and names as Hugging Face's Trainer writes them, in its order, with save_total_limit=2. */
const TRAINER = `${COMMON}
def last_checkpoint(folder):
    names = [name for name in os.listdir(folder) if re.fullmatch(r"checkpoint-\\d+", name)] if os.path.isdir(folder) else []
    return os.path.join(folder, max(names, key=lambda name: int(name.split("-")[1]))) if names else None

def write(path, data):
    with open(path, "wb") as file:
        file.write(data)

last, weights, done = last_checkpoint("output"), [0.0] * 8, 0
if last:
    weights = pickle.load(open(last + "/model.safetensors", "rb"))
    random.setstate(pickle.load(open(last + "/rng_state.pth", "rb")))
    done = json.load(open(last + "/trainer_state.json"))["global_step"]
print("from step", done, flush=True)
for n in range(done + 1, STEPS + 1):
    weights = step(weights)
    if n % 3 == 0:
        at = "output/checkpoint-%d" % n
        os.makedirs(at)
        write(at + "/model.safetensors", pickle.dumps(weights))
        write(at + "/training_args.bin", b"args")
        write(at + "/optimizer.pt", pickle.dumps(weights))
        write(at + "/rng_state.pth", pickle.dumps(random.getstate()))
        write(at + "/trainer_state.json", json.dumps({"global_step": n}).encode())
        for old in sorted(glob.glob("output/checkpoint-*"), key=lambda path: int(path.split("-")[1]))[:-2]:
            shutil.rmtree(old)
write("output/model.safetensors", pickle.dumps(weights))
`;

/** As Lightning: a new version_N for each start, last.ckpt and one that is named by its epoch, both by rename, a log in CSV. */
const LIGHTNING = `${COMMON}
ckpts = sorted(glob.glob("lightning_logs/version_*/checkpoints/last.ckpt"), key=os.path.getmtime)
weights, done = [0.0] * 8, 0
if ckpts:
    weights, state, done = pickle.load(open(ckpts[-1], "rb"))
    random.setstate(state)
print("from step", done, flush=True)
version = 0
while os.path.exists("lightning_logs/version_%d" % version):
    version += 1
at = "lightning_logs/version_%d" % version
os.makedirs(at + "/checkpoints")
open(at + "/hparams.yaml", "w").write("lr: 0.1\\n")

def save(name):
    with open(at + "/.ckpt-part", "wb") as file:
        pickle.dump((weights, random.getstate(), n), file)
    os.rename(at + "/.ckpt-part", at + "/checkpoints/" + name)

before = None
for n in range(done + 1, STEPS + 1):
    weights = step(weights)
    with open(at + "/metrics.csv", "a") as file:
        file.write("%d,%r\\n" % (n, weights[0]))
    if n % 3 == 0:
        name = "epoch=%d-step=%d.ckpt" % (n // 3, n)
        save(name)
        save("last.ckpt")
        if before:
            os.unlink(before)
        before = at + "/checkpoints/" + name
pickle.dump(weights, open("weights.pkl", "wb"))
`;

/** As nanoGPT: one file that is overwritten in place, and resumed from where an argument says so. */
const NANOGPT = `${COMMON}
weights, done = [0.0] * 8, 0
if "--init_from=resume" in sys.argv:
    checkpoint = pickle.load(open("out/ckpt.pt", "rb"))
    weights, done = checkpoint["model"], checkpoint["iter_num"]
    random.setstate(checkpoint["rng"])
print("from step", done, flush=True)
os.makedirs("out", exist_ok=True)
for n in range(done + 1, STEPS + 1):
    weights = step(weights)
    if n % 8 == 0:
        data = pickle.dumps({"model": weights, "rng": random.getstate(), "iter_num": n})
        with open("out/ckpt.pt", "wb") as file:
            file.write(data)
`;

interface Case {
  script: string;
  outputs: string[];
  paths: string[];
  result: string;
  resumeArgs?: string;
}

const CASES: Record<string, Case> = {
  trainer: {
    script: TRAINER,
    outputs: ['output/*.safetensors'],
    paths: ['output/checkpoint-*'],
    result: 'output/model.safetensors',
  },
  lightning: {
    script: LIGHTNING,
    outputs: ['weights.pkl'],
    paths: ['lightning_logs/**/checkpoints'],
    result: 'weights.pkl',
  },
  nanogpt: {
    script: NANOGPT,
    outputs: ['out'],
    paths: ['out/ckpt.pt'],
    result: 'out/ckpt.pt',
    resumeArgs: '--init_from=resume',
  },
};

describe('an unchanged script whose checkpoints are in its project', () => {
  let at: Fixture;
  const pipes: Record<string, Pipeline> = {};
  const ended: Record<string, RunRecord> = {};
  const logs: Record<string, string> = {};
  beforeAll(async () => void (at = await startPipeline()));
  afterAll(async () => {
    for (const pipe of Object.values(pipes)) pipe.close();
    await at.close();
  });

  const options = ({ outputs, paths, resumeArgs = '' }: Case) => ({ outputs, resumeArgs, checkpoints: { paths } });

  /** The result of an uninterrupted run, here. */
  function uninterrupted({ script, result }: Case): Buffer {
    const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-uninterrupted-'));
    try {
      execFileSync('python3', ['-c', script], { cwd: directory });
      return readFileSync(join(directory, result));
    } finally {
      rmSync(directory, { recursive: true });
    }
  }

  /** Takes the instance of the run away as soon as a checkpoint of its first attempt is in the store. */
  async function interruptOnce(pipe: Pipeline, run: string): Promise<void> {
    for (;;) {
      const { store, keys } = pipe.context;
      const record = (await readRecord(store, keys, run))?.record;
      if (record?.state === 'ended') return;
      if (record && record.checkpoints.length > 0) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    at.aws.interrupt(pipe.context.instance, { noticeMs: 60_000 });
  }

  async function train(name: string): Promise<void> {
    const each = CASES[name];
    const pipe = (pipes[name] = new Pipeline(at, 'store'));
    pipe.write('model/train.py', each.script);
    await pipe.openSpot({ ...options(each), storeAccess: 'role' });
    const launched = await pipe.launch();
    describeStart(pipe.context, launched.run, launched.attached);
    const interrupting = interruptOnce(pipe, launched.run.id);
    ended[name] = await followWithRecovery(pipe.context, launched, {
      signal: new AbortController().signal,
      recovery: {
        continueRun: async (gone, next) => {
          await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [gone.instance] }));
          await pipe.openSpot({ ...options(each), storeAccess: 'role' });
          return pipe.launch({}, next);
        },
      },
    });
    await interrupting;
    logs[name] = Buffer.concat(pipe.logged).toString();
    await collectArtifacts(pipe.context, ended[name]);
  }

  it('resumes after a spot interruption with the result of an uninterrupted run, bit for bit', async () => {
    await Promise.all(Object.keys(CASES).map(train));
    for (const [name, each] of Object.entries(CASES)) {
      expect([name, ended[name].outcome, ended[name].attempt]).toEqual([name, 'succeeded', 2]);
      const from = [...logs[name].matchAll(/^from step (\d+)$/gm)].map(([, n]) => Number(n));
      // The newest that was whole, whichever had been still for long enough.
      expect([name, from]).toEqual([name, [0, name === 'nanogpt' ? 16 : 18]]);
      const result = readFileSync(join(pipes[name].workspace, 'model', each.result));
      expect([name, result.equals(uninterrupted(each))]).toEqual([name, true]);
    }
  });

  it('says at the start what is saved, and in the status where the checkpoints are', async () => {
    expect(pipes.lightning.said).toContain(
      'Checkpoints are saved while it runs from NX_EC2_CHECKPOINT_DIR, lightning_logs/**/checkpoints',
    );
    const shown = async (name: string) =>
      describeRun(await oneStatus(pipes[name].context, ended[name].id, new AbortController().signal));
    expect(await shown('nanogpt')).toMatch(/checkpoints +.*\.\/out\/ckpt\.pt \(/);
    expect(await shown('trainer')).toMatch(/checkpoints +.*\.\/output\/checkpoint-24 \(/);
    // What is no checkpoint there is an extra file, and a checkpoint is none.
    expect(ended.trainer.artifacts).toMatchObject({ files: 1, extra: { files: 0 } });
    expect(ended.lightning.artifacts).toMatchObject({ files: 1, extra: { files: 2 } });
    // It is an output as well.
    expect(ended.nanogpt.artifacts).toMatchObject({ files: 1, extra: { files: 0 } });
  });

  it('has its checkpoints downloaded beside the artifacts', async () => {
    const { store, keys } = pipes.nanogpt.context;
    const files = await wantedCheckpoints(store, keys, ended.nanogpt, { checkpoints: 'last' } as PullSelection);
    const { n } = ended.nanogpt.checkpoints.at(-1)!;
    expect(files.map(({ path }) => path)).toEqual([`artifacts/checkpoints/${n}.project/out/ckpt.pt`]);
  });

  it('starts another run from its last checkpoint, in the same place', async () => {
    const pipe = pipes.nanogpt;
    rmSync(join(pipe.workspace, 'model/out'), { recursive: true });
    pipe.write('model/train.py', NANOGPT.replace('STEPS = 24', 'STEPS = 32'));
    await pipe.open(options(CASES.nanogpt));
    const restore = await resumePoint(pipe.context, ended.nanogpt.id, true);
    const { run, log } = await pipe.follow((await pipe.launch({ restore })).run);
    expect(log.toString()).toContain('from step 24\n');
    expect(run).toMatchObject({ outcome: 'succeeded', restoredFrom: { run: ended.nanogpt.id, unit: './out/ckpt.pt' } });
    await collectArtifacts(pipe.context, run);
    const whole = uninterrupted({
      ...CASES.nanogpt,
      script: readFileSync(join(pipe.workspace, 'model/train.py'), 'utf8'),
    });
    expect(readFileSync(join(pipe.workspace, 'model/out/ckpt.pt')).equals(whole)).toBe(true);
  });

  it('is not resumed by a training whose paths do not name its checkpoint', async () => {
    const pipe = pipes.nanogpt;
    await pipe.open(options({ ...CASES.nanogpt, paths: ['elsewhere'] }));
    const restore = await resumePoint(pipe.context, ended.nanogpt.id, true);
    const { run } = await pipe.follow((await pipe.launch({ restore })).run);
    expect(run).toMatchObject({ outcome: 'setup-failed', failure: { code: 'RESTORE_FAILED' } });
    expect(run.failure!.message).toContain('./out/ckpt.pt, which no path of train.checkpoints.paths names');
  });
});
