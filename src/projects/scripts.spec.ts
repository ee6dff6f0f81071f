import { TrainingProjects, type TrainingProject } from './projects.fixture';

// Each trains several times.
jest.setTimeout(90_000);

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
      'prepare.py': 'open("work/data.csv", "w").write("1,2,3")\n',
      'fit.py': `
import json
params = json.load(open("work/params.json"))
values = [float(each) for each in open("work/data.csv").read().split(",")]
print(json.dumps({"epoch": params["epochs"], "loss": sum(values) * params["lr"]}))
json.dump({"weights": values}, open("work/model.json", "w"))
`,
      'work/params.json': '{"epochs": 2, "lr": 0.5}',
    },
    config: { train: { command: 'bash train.sh', outputs: ['work/'] } },
    results: ['work/data.csv', 'work/model.json'],
    metrics: { epoch: 2, loss: 3 },
    inputs: ['twosteps/fit.py', 'twosteps/work/params.json'],
  },
  gpt: {
    files: {
      '.gitignore': '*.bin\n/out/\n',
      'data/prepare.py': '# Writes train.bin and val.bin, which are here already.\n',
      'data/train.bin': Buffer.from([1, 0, 2, 0, 255, 254]),
      'data/val.bin': Buffer.from([7, 0]),
      'config/small.py': 'max_iters = 4\n',
      'train.py': `
import os, pickle, sys
max_iters = 0
exec(open(sys.argv[1]).read())
data = open("data/train.bin", "rb").read()
os.makedirs("out", exist_ok=True)
for step in range(0, max_iters + 1, 2):
    print(f"step {step}: train loss {len(data) / 10:.4f}, val loss {os.path.getsize('data/val.bin') / 10:.4f}")
pickle.dump({"iter_num": max_iters}, open("out/ckpt.pt", "wb"))
`,
    },
    config: {
      sync: { include: ['data/*.bin'] },
      train: { command: 'python3 train.py config/small.py', outputs: ['out/'] },
    },
    results: ['out/ckpt.pt'],
    inputs: ['gpt/data/train.bin', 'gpt/config/small.py'],
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
});
