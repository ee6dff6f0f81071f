import fc from 'fast-check';
import { trainSchema } from '../../../config/schema/schema';
import { detect } from './detect';
import type { ProjectFiles } from './project-files';
import { findStart, type Start } from './start';

function filesOf(texts: Record<string, string>): ProjectFiles {
  return { paths: Object.keys(texts), isPartial: false, read: (path) => texts[path] ?? null };
}

function found(
  texts: Record<string, string>,
  { start, tracked = [], ignored }: { start?: Partial<Start>; tracked?: string[]; ignored?: string[] } = {},
) {
  const files = filesOf(texts);
  const detection = detect(files, start ?? findStart('model', files), tracked, ignored);
  const values = (findings: { value: string }[]) => findings.map(({ value }) => value);
  return {
    outputs: values(detection.outputs),
    checkpoints: values(detection.checkpoints),
    frameworks: values(detection.frameworks),
    resume: detection.resume?.value ?? null,
    detection,
  };
}

describe('what is detected in the sources of a training:', () => {
  it('a snapshot in the working directory, by torchrun', () => {
    const { outputs, checkpoints, resume, detection } = found({
      'train.py': `
import argparse, os
import torch
from torch.nn.parallel import DistributedDataParallel as DDP
from trainer import Trainer
if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument('total_epochs', type=int, help='How long')
    parser.add_argument('save_every', type=int)
    parser.add_argument('--batch_size', default=32, type=int)
    Trainer("snapshot.pt").train(1)
`,
      'trainer.py': `
import os, torch
class Trainer:
    def __init__(self, snapshot_path: str = "snapshot.pt"):
        self.gpu = int(os.environ["LOCAL_RANK"])
        self.snapshot_path = snapshot_path
        if os.path.exists(snapshot_path):
            torch.load(snapshot_path, map_location="cuda")
    def save(self, epoch):
        torch.save({"epoch": epoch}, self.snapshot_path)
`,
    });
    expect(outputs).toEqual(['snapshot.pt']);
    expect(detection.outputs[0].why).toBe('trainer.py:10 torch.save');
    expect(checkpoints).toEqual(['snapshot.pt']);
    expect(resume).toBeNull();
    expect(detection.command).toEqual({
      value: 'torchrun --standalone --nproc_per_node=auto train.py',
      why: 'trainer.py:5 LOCAL_RANK',
    });
    expect(detection.notes.join()).toContain('train.py:8 needs arguments (total_epochs, save_every)');
  });

  it('a language model with a work directory and a switch to resume', () => {
    const { outputs, checkpoints, resume, detection } = found({
      'names.py': `
import argparse, os
import torch
from torch.utils.tensorboard import SummaryWriter
if __name__ == '__main__':
    parser = argparse.ArgumentParser(description="Make more")
    parser.add_argument('--input-file', '-i', type=str, default='names.txt')
    parser.add_argument('--work-dir', '-o', type=str, default='out', help="output directory")
    parser.add_argument('--resume', action='store_true')
    args = parser.parse_args()
    os.makedirs(args.work_dir, exist_ok=True)
    writer = SummaryWriter(log_dir=args.work_dir)
    if args.resume:
        model.load_state_dict(torch.load(os.path.join(args.work_dir, 'model.pt')))
    out_path = os.path.join(args.work_dir, "model.pt")
    torch.save(model.state_dict(), out_path)
`,
      'names.txt': 'emma',
    });
    expect(outputs).toEqual(['out/']);
    expect(checkpoints).toEqual(['out/model.pt']);
    expect(resume).toBe('--resume');
    expect(detection.frameworks).toEqual([
      { value: 'PyTorch', why: 'names.py:3' },
      { value: 'TensorBoard', why: 'names.py:4' },
    ]);
  });

  it('a script with settings at its top, of which a configurator overrides some', () => {
    const { outputs, checkpoints, resume } = found({
      'train.py': `
import os, torch
out_dir = 'out'
eval_interval = 2000
init_from = 'scratch' # 'scratch' or 'resume'
exec(open('configurator.py').read())
ddp = int(os.environ.get('RANK', -1)) != -1
if init_from == 'resume':
    ckpt_path = os.path.join(out_dir, 'ckpt.pt')
    checkpoint = torch.load(ckpt_path)
torch.save(checkpoint, os.path.join(out_dir, 'ckpt.pt'))
`,
      'data/prepare.py': 'import os, numpy\nnumpy.save(os.path.join(os.path.dirname(__file__), "x"), 1)',
    });
    expect(outputs).toEqual(['out/']);
    expect(checkpoints).toEqual(['out/ckpt.pt']);
    expect(resume).toBe('--init_from=resume');
  });

  it('a file that is written under another name and then put in its place', () => {
    const source = `
import json, os, shutil, sys, tempfile
from pathlib import Path
path = "snapshot.pt"
if os.path.exists(path):
    state = json.load(open(path))
tmp = path + ".tmp"
with open(tmp, "w") as file:
    json.dump(state, file)
os.replace(tmp, path)
best = Path("models") / "best.json"
part = best.with_suffix(".part")
part.write_text("{}")
part.rename(best)
handle, name = tempfile.mkstemp()
os.replace(name, "out/scores.csv")
os.replace(sys.argv[1], os.path.join("runs", sys.argv[2]))
open("log.new", "w"); shutil.move(src="log.new", dst="log.txt")
text = open("names.txt").read().replace("a.tmp", "b.txt")
`;
    const { outputs, checkpoints, detection } = found({ 'train.py': source });
    expect(outputs).toEqual(['snapshot.pt', 'models/', 'log.txt', 'out/']);
    expect(checkpoints).toEqual(['snapshot.pt']);
    expect(detection.checkpoints[0].why).toBe('train.py:8 open, loaded at train.py:6');
    const other = found(
      { 'train.R': 'saveRDS(fit, "fit.new")\nfile.rename("fit.new", "fit.rds")\n' },
      { start: { command: 'Rscript train.R' } },
    );
    expect(other.outputs).toEqual(['fit.rds']);
  });

  it('a pickled or dumped state, if the script reads it again or its name says that it is one', () => {
    const { checkpoints, outputs } = found({
      'train.py': `
import json, pickle
from pathlib import Path
model = pickle.load(open("out/model.pkl", "rb"))
pickle.dump(model, open("out/model.pkl", "wb"))
Path("out/model_last.bin").write_bytes(b"")
Path("out/state.json").write_text(Path("out/state.json").read_text())
with Path("out/weights.npz").open("rb") as file: pass
with Path("out/weights.npz").open("wb") as file: pass
pickle.dump(model, open("out/unread_model.pkl", "wb"))
json.dump(json.load(open("cache/words.json")), open("cache/words.json", "w"))
`,
    });
    expect(checkpoints).toEqual(['out/model.pkl', 'out/model_last.bin', 'out/state.json', 'out/weights.npz']);
    expect(outputs).toEqual(['out/', 'cache/']);
  });

  it('a directory whose name is a time', () => {
    const { outputs } = found({
      'train.py': `
import datetime, os, time
run = datetime.datetime.now().strftime("outputs/%Y-%m-%d/%H-%M-%S")
open(run + "/model.pt", "wb")
open(os.path.join("logs", time.strftime("%Y%m%d") + ".txt"), "w")
open(time.strftime("%H%M.log"), "w")
`,
    });
    expect(outputs).toEqual(['outputs/', 'logs/']);
  });

  it('Transformers with arguments in the source', () => {
    const { outputs, checkpoints, frameworks } = found({
      'train.py': `
from transformers import (
    AutoModel,
    Trainer,
    TrainingArguments as Arguments,
)
OUT = "output"
arguments = Arguments(
    output_dir=OUT,  # here
    num_train_epochs=3,
)
trainer = Trainer(model, arguments)
trainer.train()
trainer.save_model(f"{OUT}/final")
`,
    });
    expect({ outputs, checkpoints, frameworks }).toEqual({
      outputs: ['output/'],
      checkpoints: ['output/checkpoint-*'],
      frameworks: ['Transformers'],
    });
  });

  it('Transformers with arguments of the command line', () => {
    const { outputs, checkpoints, detection } = found({
      'run_clm.py': `
from transformers import HfArgumentParser, Trainer, TrainingArguments
def main():
    parser = HfArgumentParser((ModelArguments, TrainingArguments))
if __name__ == "__main__":
    main()
`,
    });
    expect(outputs).toEqual(['output/']);
    expect(checkpoints).toEqual(['output/checkpoint-*']);
    expect(detection.args?.value).toBe('--output_dir output');
  });

  it.each([
    ['its default', 'trainer = L.Trainer(max_epochs=3)', ['lightning_logs/'], ['lightning_logs/**/checkpoints']],
    [
      'a root',
      'trainer = L.Trainer(default_root_dir="logs")',
      ['logs/lightning_logs/'],
      ['logs/lightning_logs/**/checkpoints'],
    ],
    ['a callback', 'c = L.pytorch.callbacks.ModelCheckpoint(dirpath="ckpts", save_last=True)', ['ckpts/'], ['ckpts']],
    [
      'loggers in the working directory',
      't = L.Trainer(logger=[L.pytorch.loggers.CSVLogger("."), L.pytorch.loggers.TensorBoardLogger(".", name="tb")])',
      ['lightning_logs/', 'tb/'],
      ['lightning_logs/**/checkpoints', 'tb/**/checkpoints'],
    ],
    [
      'a logger in a directory',
      'logger = L.pytorch.loggers.CSVLogger("logs", name="run")',
      ['logs/'],
      ['logs/**/checkpoints'],
    ],
  ])('Lightning with %s', (_, line, outputs, checkpoints) => {
    expect(found({ 'train.py': `import lightning as L\n${line}\n` })).toMatchObject({ outputs, checkpoints });
  });

  it('the command line of Lightning resumes by itself', () => {
    const text = 'from lightning.pytorch.cli import LightningCLI\nLightningCLI(Model, Data)\n';
    expect(found({ 'main.py': text })).toMatchObject({ outputs: ['lightning_logs/'], resume: '--ckpt_path=last' });
  });

  it('Hydra, with directories of its own and with configured ones', () => {
    const train = 'import hydra\n@hydra.main(version_base=None, config_path="conf")\ndef main(cfg): pass\nmain()\n';
    expect(found({ 'train.py': train }).outputs).toEqual(['outputs/', 'multirun/']);
    const conf = `
model: small
hydra:
  run:
    dir: runs/\${now:%Y-%m-%d}/\${oc.env:X,\${y}}  # dated
  sweep:
    dir: "sweeps/all"
    subdir: \${hydra.job.num}
`;
    const { outputs, detection } = found({ 'train.py': train, 'conf/config.yaml': conf });
    expect(outputs).toEqual(['runs/', 'sweeps/all/']);
    expect(detection.outputs[0].why).toBe('conf/config.yaml:5 hydra.run.dir');
  });

  it('modules that Hydra finds by their names', () => {
    const train = 'import hydra\n@hydra.main()\ndef main(cfg): hydra.utils.instantiate(cfg.model)\n';
    const { frameworks } = found({
      'train.py': train,
      'src/net.py': 'import lightning',
      'tests/test_x.py': 'import mlflow',
    });
    expect(frameworks).toEqual(['Lightning', 'Hydra']);
  });

  it.each([
    ['by default', 'mlflow.log_metric("a", 1)', ['mlruns/', 'mlflow.db']],
    ['in a database', 'mlflow.set_tracking_uri("sqlite:///runs.db")', ['runs.db', 'mlruns/']],
    ['in a directory', 'mlflow.set_tracking_uri("file:./tracking")', ['tracking/']],
    ['on a server', 'mlflow.set_tracking_uri("http://tracking:5000")', []],
    ['on a server that is configured elsewhere', 'mlflow.set_tracking_uri(config.server)', []],
  ])('MLflow %s', (_, line, outputs) => {
    expect(found({ 'train.py': `import mlflow\n${line}\n` }).outputs).toEqual(outputs);
  });

  it.each([
    ['W&B', 'import wandb\nwandb.init(project="x", mode="offline")', ['wandb/'], []],
    ['TensorBoard', 'from torch.utils.tensorboard import SummaryWriter\nw = SummaryWriter()', ['runs/'], []],
    [
      'Keras',
      'import keras\nkeras.callbacks.ModelCheckpoint("best.keras")\nmodel.save("final.keras")',
      ['final.keras', 'best.keras'],
      ['best.keras'],
    ],
    [
      'TensorFlow',
      'import tensorflow as tf\nm = tf.train.CheckpointManager(c, "./tf_ckpts", max_to_keep=3)',
      ['tf_ckpts/'],
      ['tf_ckpts'],
    ],
    ['TensorFlow, saved model', 'import tensorflow as tf\ntf.saved_model.save(model, "export/1")', ['export/1/'], []],
    [
      'Keras, backup',
      'from tensorflow import keras\nkeras.callbacks.BackupAndRestore(backup_dir="backup")',
      ['backup/'],
      ['backup'],
    ],
    ['Accelerate', 'from accelerate import Accelerator\naccelerator.save_state("state")', ['state/'], ['state']],
    ['DeepSpeed', 'import deepspeed\nmodel_engine.save_checkpoint("ds", tag)', ['ds/'], ['ds']],
    ['scikit-learn', 'import joblib\njoblib.dump(model, "model.joblib")', ['model.joblib'], []],
    ['pickle', 'import pickle\npickle.dump(m, open("m.pkl", "wb"))\nopen("in.pkl", "rb")', ['m.pkl'], []],
    ['numpy', 'import numpy as np\nnp.save("weights", w)\nnp.savez("all.npz", a=1)', ['weights.npy', 'all.npz'], []],
    [
      'pathlib',
      'from pathlib import Path\nROOT = Path(__file__).resolve().parent\n(ROOT / "results" / "x.json").write_text("")',
      ['results/'],
      [],
    ],
    ['pandas', 'df.to_csv("metrics.csv", index=False)\nplt.savefig("plots/loss.png")', ['metrics.csv', 'plots/'], []],
    [
      'names with numbers',
      'import torch\nfor e in x:\n    torch.save(m, f"ckpt_{e}.pt")\n    torch.save(m, "best-%d.pt" % e)\n',
      ['ckpt_*.pt', 'best-*.pt'],
      ['ckpt_*.pt'],
    ],
    [
      'directories with numbers',
      'import torch\ntorch.save(m, f"runs/{name}/epoch_{e}.pt")',
      ['runs/'],
      ['runs/*/epoch_*.pt'],
    ],
    [
      'a dataclass',
      'import torch\n@dataclass\nclass C:\n    save_path: str = field(default="w/last.pt")\ntorch.save(m, cfg.save_path)',
      ['w/'],
      ['w/last.pt'],
    ],
    [
      'a dict',
      'import torch\nconfig = {\n  "lr": 1,\n  "path": "w.pt",\n}\ntorch.save(m, config["path"])',
      ['w.pt'],
      [],
    ],
    [
      'click',
      'import click, torch\n@click.command()\n@click.option("--out", default="exp")\ndef main(out):\n    torch.save(m, f"{out}/w.pt")',
      ['exp/'],
      [],
    ],
    ['Python 2', 'import torch\nprint "saving"\ntorch.save(m, "old.pt")\nexec "x"', ['old.pt'], []],
    [
      'a syntax error',
      'import torch\ndef f(:\n  x = ((\ndef g():\n  torch.save(m, "a.pt")\n  y = "open\n',
      ['a.pt'],
      [],
    ],
    [
      'what is saved anyway',
      'import os, torch\nd = os.environ.get("NX_EC2_CHECKPOINT_DIR", "ckpt")\ntorch.save(m, os.path.join(d, "last.pt"))\ntorch.save(m, "artifacts/m.pt")',
      [],
      [],
    ],
    ['SageMaker', 'import os, torch\ntorch.save(m, os.path.join(os.environ["SM_MODEL_DIR"], "m.pt"))', [], []],
    [
      'unknown places',
      'import torch\ntorch.save(m, path)\ntorch.save(m, f"{d}/x.pt")\nopen(f"{n}.txt", "w")\ntorch.save(m, d + "/x.pt")',
      [],
      [],
    ],
    [
      'comments and strings',
      'import torch\n# torch.save(m, "a.pt")\n"""torch.save(m, "b.pt")"""\nprint("torch.save(m, \'c.pt\')")',
      [],
      [],
    ],
  ])('%s', (_, text, outputs, checkpoints) => {
    expect(found({ 'train.py': `${text}\n` })).toMatchObject({ outputs, checkpoints });
  });

  it('files written to a directory with files of the project are outputs, and the directory is not', () => {
    const text =
      'import torch\ntorch.save(m, "data/model.pt")\ntorch.save(m, f"data/{e}.csv")\ntorch.save(m, "net/w.pt")\n';
    const { outputs } = found(
      { 'train.py': text, 'net/__init__.py': '' },
      { tracked: ['data/names.txt', 'data/1.csv'] },
    );
    expect(outputs).toEqual(['data/model.pt', 'net/w.pt']);
  });

  it('files that are written outside the project are reported', () => {
    const { outputs, detection } = found({
      'train.py': 'import torch\ntorch.save(m, "/data/m.pt")\ntorch.save(m, "../m.pt")\ntorch.save(m, "/tmp/m.pt")\n',
    });
    expect(outputs).toEqual([]);
    expect(detection.notes).toEqual([
      '/data/m.pt (train.py:2 torch.save) is outside the project and is not saved: write to NX_EC2_OUTPUT_DIR instead',
      '../m.pt (train.py:3 torch.save) is outside the project and is not saved: write to NX_EC2_OUTPUT_DIR instead',
    ]);
  });

  it('git-ignored data that the training reads is sent', () => {
    const text = `
import os, numpy as np, torch
dataset = 'letters'
data_dir = os.path.join('data', dataset)
def get_batch(split):
    return np.memmap(os.path.join(data_dir, f'{split}.bin'), dtype=np.uint16, mode='r')
meta = open(os.path.join(data_dir, 'meta.pkl'), 'rb')
there = open('tracked.csv')
token = open('api.secret')
torch.load('out/ckpt.pt')
torch.save(model, 'out/ckpt.pt')
`;
    const data = ['data/letters/train.bin', 'data/letters/val.bin', 'data/letters/meta.pkl', 'data/other/train.bin'];
    const ignored = [...data, 'out/ckpt.pt', 'api.secret'];
    expect(found({ 'train.py': text }, { ignored, tracked: ['tracked.csv'] }).detection.include).toEqual([
      { value: 'data/letters/*.bin', why: 'train.py:6 numpy.memmap, git-ignored' },
      { value: 'data/letters/meta.pkl', why: 'train.py:7 open, git-ignored' },
    ]);
    expect(found({ 'train.py': text }).detection.include).toEqual([]);
  });

  it.each([
    ['nothing else', 'wandb.init(project="x")', /^W&B \(train\.py:2 wandb\.init\) needs a key/],
    ['a mode of the environment', 'wandb.init(mode=MODE)', /needs a key/],
    ['its offline mode', 'wandb.init(project="x", mode="offline")', null],
  ])('W&B with %s', (_, line, note) => {
    const { notes } = found({ 'train.py': `import wandb\n${line}\n` }).detection;
    expect(notes).toEqual(note ? [expect.stringMatching(note)] : []);
  });

  it('downloaded data is no result', () => {
    const text =
      'from torchvision import datasets\ndatasets.MNIST("data", train=True, download=True)\ndatasets.MNIST("old")\n';
    expect(found({ 'train.py': text }).detection.scratch).toEqual([
      { value: 'data/', why: 'train.py:2 torchvision.datasets.MNIST' },
    ]);
  });

  it('only files that the training runs count: its imports, and the steps that it starts', () => {
    const { outputs } = found(
      {
        'train.py': 'import subprocess\nfrom .a.b import c\nimport d.e\nsubprocess.run(["python", "steps/two.py"])\n',
        'a/b.py': 'open("1.txt", "w")',
        'd/e/__init__.py': 'open("2.txt", "w")',
        'steps/two.py': 'open("3.txt", "w")',
        'other.py': 'open("4.txt", "w")',
      },
      { start: { script: 'train.py' } },
    );
    expect(outputs).toEqual(['1.txt', '2.txt', '3.txt']);
  });

  it('a command tells which files it runs', () => {
    const texts = {
      'run.sh': 'set -e\npython prepare.py && python -u fit/go.py --x "y.py"\n',
      'prepare.py': 'open("1.txt", "w")',
      'fit/go.py': 'open("2.txt", "w")',
      'pkg/main.py': 'open("3.txt", "w")',
    };
    expect(found(texts, { start: { command: 'bash run.sh' } }).outputs).toEqual(['1.txt', '2.txt']);
    expect(found(texts, { start: { command: 'python -m pkg.main' } }).outputs).toEqual(['3.txt']);
  });

  it.each([
    ['a switch', 'a.add_argument("--resume", action="store_true")', '--resume'],
    ['a path', 'a.add_argument("--resume", default="", type=str)', '--resume=last.pt'],
    [
      'a path, by another name',
      'a.add_argument("--resume_from_checkpoint", default=None)',
      '--resume_from_checkpoint=last.pt',
    ],
    ['nothing of the kind', 'a.add_argument("--resume-lr", type=float)', null],
  ])('an argument for resuming: %s', (_, line, resume) => {
    expect(found({ 'train.py': `import torch\n${line}\ntorch.save(m, "last.pt")\n` }).resume).toBe(resume);
  });
});

describe('the start of a training', () => {
  const train = 'loss.backward()\n';
  const main = 'if __name__ == "__main__":\n    main()\n';
  it.each<[string, Record<string, string>, Partial<Start>]>([
    ['the usual name', { 'train.py': '', 'main.py': '' }, { script: 'train.py', why: 'by its name' }],
    ['the only file', { 'names.py': '', 'test_names.py': main }, { script: 'names.py', why: 'the only Python file' }],
    ['the only one that can be run', { 'a.py': main, 'b.py': '' }, { script: 'a.py' }],
    ['a name that says so', { 'a.py': main + train, 'finetune.py': main }, { script: 'finetune.py' }],
    ['the only one that trains', { 'a.py': main + train, 'b.py': main }, { script: 'a.py' }],
    [
      'Node.js',
      { 'package.json': '{"scripts":{"train":"node train.mjs --x"}}' },
      { command: 'node train.mjs --x', why: 'package.json, scripts.train' },
    ],
    [
      'Node.js with packages',
      { 'package.json': '{"scripts":{"train":"tsc && node x.js"},"dependencies":{"a":"1"}}', 'pnpm-lock.yaml': '' },
      { command: 'pnpm run train', setup: 'pnpm install --frozen-lockfile' },
    ],
    [
      'R',
      { 'train.R': '', 'utils.R': '', 'renv.lock': '{}' },
      { command: 'Rscript train.R', setup: 'Rscript -e "renv::restore(prompt = FALSE)"' },
    ],
    [
      'Julia',
      { 'fit.jl': '', 'Project.toml': '' },
      { command: 'julia --project=. fit.jl', setup: 'julia --project=. -e "using Pkg; Pkg.instantiate()"' },
    ],
    [
      'Node.js beside one Python file',
      { 'tool.py': '', 'package.json': '{"scripts":{"train":"node ."}}' },
      { command: 'node .' },
    ],
    ['a broken package.json', { 'package.json': '{"scripts"', 'a b.R': '' }, { command: "Rscript 'a b.R'" }],
  ])('is found: %s', (_, texts, start) => {
    expect(findStart('model', filesOf(texts))).toMatchObject(start);
  });

  it('has to be named if several scripts are equally likely', () => {
    expect(() => findStart('model', filesOf({ 'a.py': main + train, 'b.py': main + train, 'c.py': main }))).toThrow(
      /several scripts: a\.py, b\.py\.\n.*--script=a\.py/,
    );
  });

  it.each<[string, Record<string, string>, string[]]>([
    [
      'R',
      {
        'train.R':
          'out <- "res"\nsaveRDS(fit, file.path(out, "fit.rds"))\nwrite.csv(d, file = "pred.csv") # saveRDS(x, "no.rds")\n',
      },
      ['res/', 'pred.csv'],
    ],
    [
      'Julia',
      { 'train.jl': 'const OUT = "res"\njldsave(joinpath(OUT, "m.jld2"); model)\nopen("log.txt", "w") do io end\n' },
      ['res/', 'log.txt'],
    ],
    [
      'Node.js',
      {
        'package.json': '{"scripts":{"train":"node train.mjs"}}',
        'train.mjs':
          'const out = `res`;\nfs.writeFileSync(path.join(out, `m-${n}.json`), "x");\nawait model.save("file://./net");\n',
      },
      ['res/', 'net/'],
    ],
  ])('is found for %s, with its results', (_, texts, outputs) => {
    expect(found(texts).outputs).toEqual(outputs);
  });
});

it('any text gives a valid configuration without an error', () => {
  const piece = fc.oneof(
    fc.constantFrom(
      ...[
        'import torch\n',
        'torch.save(m, ',
        '"a/b.pt"',
        'f"x{e}[1].pt"',
        'open(',
        '"w"',
        ')',
        '(',
        '[',
        ']',
        '{',
        '}',
        ', ',
        '\n',
        '\ndef f(',
        ' = ',
        'out',
        '"out"',
        '.',
        ' / ',
        ' + ',
        ' % ',
      ],
      ...[
        'os.path.join(',
        'Path(',
        '.parent',
        '"""',
        "'",
        '#',
        '\\',
        ':',
        'if ',
        'from . import x\n',
        '"../x"',
        '"!(a)**"',
        'a.add_argument("--resume", default=',
        'SummaryWriter(',
        'class C:\n  out: str = ',
      ],
    ),
    fc.string({ unit: 'binary', maxLength: 5 }),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
      const texts = { 'train.py': pieces.join('') };
      const { detection, outputs, checkpoints } = found(texts);
      const train = {
        outputs,
        checkpoints: { paths: checkpoints },
        scratch: detection.scratch.map(({ value }) => value),
        ...(detection.resume ? { resumeArgs: detection.resume.value } : {}),
      };
      expect(trainSchema.safeParse(train).success).toBe(true);
      for (const path of [...outputs, ...checkpoints])
        expect(path).not.toMatch(/^(?:\/|\.\.?(?:\/|$)|\*+$)|[\0\x01\n]/);
    }),
    { numRuns: 300 },
  );
  for (const piece of ['f(', 'a.', '"a":', 'import a;', 'x = ', '((', ')', 'a=b+b\n', 'f(a, ', 'import '])
    found({ 'train.py': piece.repeat(5_000) });
});

it.each<[string, Record<string, string>]>([
  [
    'references that are not closed, in a shell script',
    { 'train.sh': `OUT="${'${'.repeat(150_000)}"\npython train.py --out "$OUT"\n`, 'train.py': 'x = 1\n' },
  ],
  ['references that are not closed, in Julia', { 'train.jl': `open("${'$('.repeat(150_000)}", "w")\n` }],
  ['zeros of a format', { 'train.py': `open("%${'0'.repeat(300_000)}!" % x, "w")\n` }],
  [
    'references within references, in YAML',
    {
      'config/config.yaml': `dir: ${'${'.repeat(100_000)}${'}'.repeat(100_000)}\n`,
      'train.py':
        'import hydra\n@hydra.main(config_path="config", config_name="config")\ndef main(cfg): open(cfg.dir, "w")\n',
    },
  ],
  [
    'spaces of a value, in YAML',
    {
      'config/config.yaml': `dir: x${' '.repeat(300_000)}y\n`,
      'train.py':
        'import hydra\n@hydra.main(config_path="config", config_name="config")\ndef main(cfg): open(cfg.dir, "w")\n',
    },
  ],
  [
    'names whose values name others, many times each',
    {
      'train.py': `${Array.from({ length: 14 }, (_, n) => `a${n + 1} = ${Array(30).fill(`a${n}`).join(' + ')}\n`).join('')}a0 = ""\nopen(a14, "w")\n`,
    },
  ],
])('a source that is made to take long, %s, takes little processor time', (_, texts) => {
  const before = process.cpuUsage();
  expect(found(texts).outputs.length).toBeLessThan(3);
  const { user } = process.cpuUsage(before);
  // Seconds of the processor, so that a busy machine makes no difference. Without a limit on texts, half a minute or more.
  expect(user / 1e6).toBeLessThan(10);
});
