import { TrainingProjects, type TrainingProject } from './projects.fixture';

// Each trains several times.
/** Projects of one script, whatever it is written in, as they lie in repositories. */
const PROJECTS = {
  makemore: {
    files: {
      'makemore.py': `
import os, pickle
text = open("names.txt").read().split()
os.makedirs("out", exist_ok=True)
for step in (100, 200):
    print(f"step {step} | loss {len(text) / step:.4f} | step time 1.20ms")
with open("out/model.pt", "wb") as file:
    pickle.dump(sorted(text), file)
with open("out/samples.txt", "w") as file:
    file.write(text[0][::-1])
`,
      'names.txt': 'emma\nolivia\n',
    },
    config: { train: { script: 'makemore.py', outputs: ['out/'] } },
    results: ['out/model.pt', 'out/samples.txt'],
    metrics: { loss: 0.01 },
    inputs: ['makemore/names.txt', 'makemore/makemore.py'],
  },
  twosteps: {
    files: {
      'train.sh': 'set -e\npython3 prepare.py\npython3 fit.py\n',
      'prepare.py': 'open("fit/data.csv", "w").write("1,2,3")\n',
      'fit.py': `
import json
params = json.load(open("fit/params.json"))
values = [float(each) for each in open("fit/data.csv").read().split(",")]
print(json.dumps({"epoch": params["epochs"], "loss": sum(values) * params["lr"]}))
json.dump({"weights": values}, open("fit/model.json", "w"))
`,
      'fit/params.json': '{"epochs": 2, "lr": 0.5}',
    },
    config: { train: { command: 'bash train.sh', outputs: ['fit/'] } },
    results: ['fit/data.csv', 'fit/model.json'],
    metrics: { epoch: 2, loss: 3 },
    inputs: ['twosteps/fit.py', 'twosteps/fit/params.json'],
  },
  gpt: {
    files: {
      '.gitignore': '*.bin\n',
      'data/prepare.py': '# Writes train.bin and val.bin, which are here already.\n',
      'data/train.bin': Buffer.from([1, 0, 2, 0, 255, 254]),
      'data/val.bin': Buffer.from([7, 0]),
      'config/small.py': 'max_iters = 4\n',
      'train.py': `
import os, pickle, sys
max_iters, out_dir, init_from = 0, "out", "scratch"
for word in sys.argv[1:]:
    exec("%s = %r" % tuple(word[2:].split("=")) if word.startswith("--") else open(word).read())
data, start = open("data/train.bin", "rb").read(), 0
if init_from == "resume":
    start = pickle.load(open(out_dir + "/ckpt.pt", "rb"))["iter_num"]
for step in range(start, max_iters + 1, 2):
    print(f"step {step}: train loss {len(data) / 10:.4f}, val loss {os.path.getsize('data/val.bin') / 10:.4f}")
pickle.dump({"iter_num": max_iters, "start": start}, open(out_dir + "/ckpt.tmp", "wb"))
os.replace(out_dir + "/ckpt.tmp", out_dir + "/ckpt.pt")
print(f"iters {start} to {max_iters}")
`,
    },
    config: {
      sync: { include: ['data/*.bin'] },
      train: {
        command: 'python3 train.py config/small.py --out_dir={outputDir}',
        checkpoints: { paths: ['artifacts/ckpt.pt'] },
      },
    },
    results: ['artifacts/ckpt.pt'],
    metrics: { step: 4, val_loss: 0.2 },
    inputs: ['gpt/data/train.bin', 'gpt/config/small.py'],
  },
  torchrun: {
    files: {
      // As torchrun does: a process for each rank, with its variables. Rank 0 saves.
      'launch.py': `
import os, subprocess, sys
ranks = [dict(os.environ, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="localhost") for rank in range(2)]
codes = [process.wait() for process in [subprocess.Popen([sys.executable, "multigpu.py"], env=each) for each in ranks]]
sys.exit(max(codes))
`,
      'multigpu.py': `
import json, os
epochs, rank = int(open("epochs.txt").read()), int(os.environ["RANK"])
state = json.load(open("snapshot.pt")) if os.path.exists("snapshot.pt") else {"EPOCHS_RUN": 0, "LOSSES": []}
if rank == 0 and state["EPOCHS_RUN"]:
    print("Resuming training from snapshot at Epoch", state["EPOCHS_RUN"])
for epoch in range(state["EPOCHS_RUN"], epochs):
    state = {"EPOCHS_RUN": epoch + 1, "LOSSES": state["LOSSES"] + [1 / (epoch + 1)]}
    if rank == 0:
        print(f"[GPU0] Epoch {epoch} | Batchsize: 32 | Steps: 32")
        print(f"epoch {epoch + 1} loss: {1 / (epoch + 1):.3f}")
        json.dump(state, open("snapshot.tmp", "w"))
        os.replace("snapshot.tmp", "snapshot.pt")
`,
      'epochs.txt': '2\n',
    },
    config: { train: { script: 'launch.py', outputs: ['snapshot.pt'], checkpoints: { paths: ['snapshot.pt'] } } },
    results: ['snapshot.pt'],
    metrics: { epoch: 2, loss: 0.5 },
    inputs: ['torchrun/epochs.txt'],
  },
  node: {
    files: {
      'package.json': '{ "name": "node", "private": true, "type": "module" }',
      'train.js': `
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
const { rate } = JSON.parse(readFileSync('hyper.json'));
mkdirSync('model', { recursive: true });
console.log(JSON.stringify({ step: 10, loss: rate * 2 }));
writeFileSync('model/weights.json', JSON.stringify([rate]));
`,
      'hyper.json': '{ "rate": 0.125 }',
    },
    config: { train: { command: 'node train.js', outputs: ['model/'] } },
    results: ['model/weights.json'],
    metrics: { step: 10, loss: 0.25 },
    inputs: ['node/hyper.json', 'node/package.json'],
  },
} satisfies Record<string, TrainingProject>;

describe('a project of scripts', () => {
  let projects: TrainingProjects;
  beforeAll(async () => void (projects = await TrainingProjects.open(PROJECTS)));
  afterAll(() => projects.close());

  it.each(Object.keys(PROJECTS))('%s trains, and the next command finds its result', async (name) => {
    await projects.expectTrained(name);
  });

  it('gpt resumes from ckpt.pt in the output directory', async () => {
    projects.write('gpt', 'config/small.py', 'max_iters = 8\n');
    const { printed } = await projects.train('gpt', { resumeFrom: 'last', train: { args: '--init_from=resume' } });
    expect(printed).toContain('iters 4 to 8');
  });

  it('torchrun resumes from its snapshot in the working directory', async () => {
    projects.write('torchrun', 'epochs.txt', '4\n');
    const { printed } = await projects.train('torchrun', { resumeFrom: 'last' });
    expect(printed).toContain('Resuming training from snapshot at Epoch 2');
    const [first] = JSON.parse(projects.read('torchrun', 'snapshot.pt')!).LOSSES;
    expect([printed.match(/loss: /g)!.length, first]).toEqual([2, 1]);
  });

  it('twosteps brings tracked parameters that the run has changed, which are the input of the next one', async () => {
    const fit = projects.read('twosteps', 'fit.py')!;
    const tune = 'params["lr"] = 0.25\njson.dump(params, open("fit/params.json", "w"))\n';
    projects.write('twosteps', 'fit.py', fit + tune);
    const key = await projects.key('twosteps');
    expect(await projects.train('twosteps')).toMatchObject({ metrics: { loss: 3 } });
    expect(JSON.parse(projects.read('twosteps', 'fit/params.json')!)).toEqual({ epochs: 2, lr: 0.25 });
    expect(await projects.key('twosteps')).not.toBe(key);
    expect(await projects.train('twosteps')).toMatchObject({ attached: false, metrics: { loss: 1.5 } });
  });
});
