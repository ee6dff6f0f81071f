import type { TrainingProject } from './projects.fixture';

/** Projects whose framework decides where results lie. The scripts write its layout with the standard library. */
export const FRAMEWORKS = {
  hydra: {
    files: {
      // As `@hydra.main` does: the directory is named by the time of the start, and so is that of the sweep.
      'train.py': `
import os, re
config = open("conf/config.yaml").read()
rate, now = re.search("lr: (.*)", config).group(1), re.search("now: (.*)", config).group(1)
sweep = re.search("sweep: (.*)", config).group(1).split(",")
for job, each in [(None, rate)] + list(enumerate(sweep)):
    at = f"outputs/{now}" if job is None else f"multirun/{now}/{job}"
    os.makedirs(at + "/.hydra")
    for name in ("config", "hydra", "overrides"):
        open(f"{at}/.hydra/{name}.yaml", "w").write(f"lr: {each}\\n")
    open(at + "/train.log", "w").write("done\\n")
    open(at + "/model.pt", "w").write(each)
    print(f"loss={float(each) * 2}")
open(f"multirun/{now}/multirun.yaml", "w").write("sweep\\n")
`,
      'conf/config.yaml': 'lr: 0.5\nsweep: 0.1,0.25\nnow: 2026-11-28/10-00-00\n',
    },
    config: { train: { script: 'train.py', outputs: ['outputs/', 'multirun/'] } },
    results: ['outputs/*/*/{.hydra/*.yaml,model.pt,train.log}', 'multirun/*/*/{multirun.yaml,?/{.hydra/*.yaml,*}}'],
    metrics: { loss: 0.5 },
    inputs: ['hydra/conf/config.yaml'],
  },
  lightning: {
    files: {
      'train.py': `
import glob, os, re
logs = "lightning_logs"
os.makedirs(logs, exist_ok=True)
taken = [int(name[8:]) for name in os.listdir(logs) if re.fullmatch(r"version_\\d+", name)]
at = f"{logs}/version_{max(taken, default=-1) + 1}"
os.makedirs(at + "/checkpoints")
steps = int(open("steps.txt").read())
last = max(glob.glob(f"{logs}/*/checkpoints/*.ckpt"), default=None, key=lambda path: int(re.findall(r"\\d+", path)[-1]))
open(at + "/hparams.yaml", "w").write("{}\\n")
open(at + "/metrics.csv", "w").write(f"epoch,step,train_loss\\n0,{steps},0.5\\n")
open(at + f"/checkpoints/epoch=0-step={steps}.ckpt", "w").write(f"from {last and os.path.basename(last)}")
print(f"epoch: 0, step: {steps}, train_loss: 0.5")
`,
      'steps.txt': '8\n',
    },
    config: {
      train: {
        script: 'train.py',
        outputs: ['lightning_logs/'],
        checkpoints: { paths: ['lightning_logs/**/checkpoints'] },
      },
    },
    results: [
      'lightning_logs/version_0/{hparams.yaml,metrics.csv}',
      'lightning_logs/version_0/checkpoints/*-step=8.ckpt',
    ],
    metrics: { epoch: 0, step: 8, train_loss: 0.5 },
    inputs: ['lightning/steps.txt'],
  },
  trainer: {
    files: {
      // As transformers.Trainer does, with save_total_limit=2.
      'train.py': `
import glob, json, os, re, shutil
def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "w").write(text)
config = json.load(open("config.json"))
there = sorted(glob.glob("output/checkpoint-*"), key=lambda path: int(path.rpartition("-")[2]))
state = json.load(open(there[-1] + "/trainer_state.json")) if there else {"global_step": 0}
began = state["global_step"]
for step in range(began + 1, config["max_steps"] + 1):
    state["global_step"] = step
    print({"loss": 1 / step, "grad_norm": 0.5, "learning_rate": 5e-05, "epoch": step / 2})
    at = f"output/checkpoint-{step}"
    for name in ("config.json", "model.safetensors", "optimizer.pt", "rng_state.pth", "scheduler.pt", "training_args.bin"):
        write(f"{at}/{name}", f"{name} {step}")
    write(at + "/trainer_state.json", json.dumps(state))
    shutil.rmtree(f"output/checkpoint-{step - 2}", ignore_errors=True)
write("output/model.safetensors", f"steps {began + 1} to {step}")
write("output/runs/Nov28_10-00-00_box/events.out.tfevents.1795860000.box.7.0", "events")
`,
      'config.json': '{"max_steps": 4}',
    },
    config: {
      train: { script: 'train.py', outputs: ['output/'], checkpoints: { paths: ['output/checkpoint-*'] } },
    },
    results: ['output/checkpoint-{3,4}/*', 'output/model.safetensors', 'output/runs/**'],
    metrics: { loss: 0.25, epoch: 2 },
    inputs: ['trainer/config.json'],
  },
  wandb: {
    files: {
      'train.py': `
import os
assert os.environ["WANDB_MODE"] == "offline"
run = "wandb/offline-run-20261128_100000-abcd1234"
os.makedirs(run + "/files"), os.makedirs(run + "/logs"), os.makedirs("runs/Nov28_10-00-00_box")
for name in ("files/wandb-summary.json", "files/config.yaml", "logs/debug.log", "logs/debug-internal.log", "run-abcd1234.wandb"):
    open(f"{run}/{name}", "w").write(name)
os.symlink(os.path.basename(run), "wandb/latest-run")
os.symlink(os.path.basename(run) + "/logs/debug.log", "wandb/debug.log")
os.symlink("/tmp/core-debug.log", run + "/logs/debug-core.log")
open("runs/Nov28_10-00-00_box/events.out.tfevents.1795860000.box.7.0", "wb").write(b"\\x18" + bytes(31))
print({"loss": 0.125, "epoch": float(open("epochs.txt").read())})
`,
      'epochs.txt': '2\n',
    },
    config: { train: { script: 'train.py', outputs: ['wandb/', 'runs/'], env: { WANDB_MODE: 'offline' } } },
    results: ['wandb/offline-run-*/**', 'wandb/debug*.log', 'runs/*/events.out.tfevents.*'],
    metrics: { loss: 0.125, epoch: 2 },
    inputs: ['wandb/epochs.txt'],
  },
} satisfies Record<string, TrainingProject>;
