import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TrainingProjects, type TrainingProject } from './projects.fixture';

// Each trains several times.
/**
 * uv, poetry and conda as far as a set-up calls them, and without a registry: an environment with a module `installed`,
 * and, as editable packages, those that the lock file names by a path.
 */
const TOOL = `#!/usr/bin/env python3
import glob, os, re, subprocess, sys
tool, words = os.path.basename(sys.argv[0]), sys.argv[1:]
if words == ["--version"]:
    print(tool + " 1.0")
    sys.exit()
if words[0] == "run":
    at = words.index("-p") + 1
    os.environ["PATH"] = words[at] + "/bin:" + os.environ["PATH"]
    os.execvp(words[at + 1], words[at + 1:])
at = {
    "uv": lambda: os.environ["UV_PROJECT_ENVIRONMENT"],
    "poetry": lambda: os.environ["POETRY_VIRTUALENVS_PATH"] + "/model-py3",
    "conda": lambda: words[words.index("-p") + 1],
}[tool]()
subprocess.check_call([sys.executable, "-m", "venv", "--without-pip", at])
site = glob.glob(at + "/lib/python3*/site-packages")[0]
open(site + "/installed.py", "w").write("BY = %r\\n" % tool)
# A member of a uv workspace has the lock file above it.
root = os.getcwd()
while tool == "uv" and not os.path.exists(root + "/uv.lock"):
    root = os.path.dirname(root)
lock = open(root + "/" + tool + ".lock").read() if tool != "conda" else ""
for path in re.findall(r'(?:editable|url) = "([^"]+)"', lock):
    name, at = os.path.basename(path), os.path.join(root, path)
    info = "%s/%s-1.0.dist-info" % (site, name)
    os.mkdir(info)
    made = {
        info + "/METADATA": "Metadata-Version: 2.1\\nName: %s\\nVersion: 1.0\\n" % name,
        info + "/direct_url.json": '{"url": "file://%s", "dir_info": {"editable": true}}' % at,
        info + "/RECORD": "_%s.pth,,\\n%s-1.0.dist-info/METADATA,,\\n%s-1.0.dist-info/RECORD,,\\n" % (name, name, name),
        site + "/_%s.pth" % name: at + "/src\\n",
    }
    for path, text in made.items():
        open(path, "w").write(text)
`;

const FIT = `
import json, os, installed, features
os.makedirs("out", exist_ok=True)
print(json.dumps({"step": 1, "loss": features.SCALE / 4}))
json.dump([installed.BY, features.SCALE], open("out/model.json", "w"))
`;

const PROJECTS = {
  // MLflow 2 writes mlruns/, MLflow 3 mlflow.db besides it.
  mlflow: {
    files: {
      MLproject: 'name: mlflow\nconda_env: conda.yaml\nentry_points:\n  main: { command: python train.py }\n',
      'conda.yaml': 'name: mlflow\ndependencies: [python, pip, { pip: [mlflow] }]\n',
      'train.py': `
import installed, os
run = "mlruns/0/0123456789abcdef"
for path, text in {
    "mlruns/0/meta.yaml": "artifact_location: file://" + os.path.abspath("mlruns/0"),
    run + "/meta.yaml": "status: 3", run + "/metrics/loss": "1795860000000 0.5 0", run + "/params/by": installed.BY,
    run + "/tags/mlflow.runName": "able-ape-1", run + "/artifacts/model/MLmodel": "flavors: {}",
    run + "/artifacts/model/conda.yaml": "dependencies: []", run + "/artifacts/model/python_env.yaml": "python: 3.11",
    run + "/artifacts/model/requirements.txt": "mlflow", run + "/artifacts/model/model.pkl": "pickle", "mlflow.db": "SQLite",
}.items():
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    open(path, "w").write(text)
print("Epoch 1/1 - loss: 0.5 - val_acc: 0.75")
`,
    },
    config: { train: { script: 'train.py', outputs: ['mlruns/', 'mlflow.db'] } },
    results: ['mlruns/0/**', 'mlflow.db'],
    metrics: { Epoch: 1, loss: 0.5, val_acc: 0.75 },
    inputs: ['mlflow/conda.yaml', 'mlflow/train.py'],
  },
  uv: {
    root: 'py/apps/classify',
    dependencies: ['features'],
    files: {
      'pyproject.toml': '[project]\nname = "classify"\nversion = "1.0"\ndependencies = ["features"]\n',
      'train.py': FIT,
    },
    config: { train: { script: 'train.py', outputs: ['out/'] } },
    results: ['out/model.json'],
    metrics: { step: 1, loss: 0.5 },
    inputs: [
      'py/uv.lock',
      'py/pyproject.toml',
      'py/libs/features/src/features/__init__.py',
      'py/apps/classify/train.py',
    ],
  },
  poetry: {
    files: {
      'pyproject.toml':
        '[tool.poetry]\nname = "poetry"\nversion = "1.0"\n[tool.poetry.dependencies]\nfeatures = { path = "libs/features", develop = true }\n',
      'poetry.lock':
        '[[package]]\nname = "features"\nversion = "1.0"\n[package.source]\ntype = "directory"\nurl = "libs/features"\n',
      'libs/features/pyproject.toml': '[project]\nname = "features"\nversion = "1.0"\n',
      'libs/features/src/features/__init__.py': 'SCALE = 1\n',
      'train.py': FIT,
    },
    config: { train: { script: 'train.py', outputs: ['out/'] } },
    results: ['out/model.json'],
    metrics: { step: 1, loss: 0.25 },
    inputs: ['poetry/poetry.lock', 'poetry/libs/features/src/features/__init__.py'],
  },
  submodule: {
    files: {
      'vendor/nets/nets.py': 'def loss():\n    return 0.125\n',
      'train.py': `
import os, sys
sys.path.insert(0, "vendor/nets")
import nets
print("loss:", nets.loss())
os.makedirs("vendor/nets/weights"), open("vendor/nets/weights/final.pt", "w").write("weights")
`,
    },
    config: { train: { script: 'train.py', outputs: ['vendor/nets/weights/'] } },
    results: ['vendor/nets/weights/final.pt'],
    metrics: { loss: 0.125 },
    inputs: ['submodule/vendor/nets/nets.py', 'submodule/train.py'],
  },
  r: {
    files: {
      'train.R': `
data <- read.csv("data.csv")
dir.create("out")
cat(sprintf("epoch %d: loss %.2f\\n", 1L, sum(data$x) / 10))
saveRDS(data, "out/model.rds")
`,
      'data.csv': 'x\n1\n4\n',
    },
    config: { train: { command: 'Rscript train.R', outputs: ['out/'] } },
    results: ['out/model.rds'],
    metrics: { epoch: 1, loss: 0.5 },
    inputs: ['r/data.csv'],
  },
  julia: {
    files: {
      'train.jl':
        'mkpath("out")\nx = parse(Float64, read("x.txt", String))\nprintln("loss = ", x)\nwrite("out/model.txt", string(x))\n',
      'x.txt': '0.5\n',
    },
    config: { train: { command: 'julia train.jl', outputs: ['out/'] } },
    results: ['out/model.txt'],
    metrics: { loss: 0.5 },
    inputs: ['julia/x.txt'],
  },
} satisfies Record<string, TrainingProject>;

const LIBRARIES = {
  features: {
    root: 'py/libs/features',
    files: {
      'pyproject.toml': '[project]\nname = "features"\nversion = "1.0"\n',
      'src/features/__init__.py': 'SCALE = 2\n',
    },
  },
};
const SHARED = {
  'py/pyproject.toml': '[tool.uv.workspace]\nmembers = ["apps/*", "libs/*"]\n',
  'py/uv.lock':
    'version = 1\n[[package]]\nname = "features"\nsource = { editable = "libs/features" }\n[[package]]\nname = "classify"\nsource = { virtual = "apps/classify" }\n',
};

describe('a project with an environment', () => {
  const tools = mkdtempSync(join(tmpdir(), 'nx-ec2-tools-'));
  let projects: TrainingProjects;
  beforeAll(async () => {
    writeFileSync(join(tools, 'uv'), TOOL);
    chmodSync(join(tools, 'uv'), 0o755);
    for (const name of ['poetry', 'conda']) symlinkSync('uv', join(tools, name));
    projects = await TrainingProjects.open(PROJECTS, { libraries: LIBRARIES, shared: SHARED, tools });
  });
  afterAll(async () => {
    await projects.close();
    rmSync(tools, { recursive: true });
  });

  it('of MLflow with conda.yaml brings its runs and its models', async () => {
    await projects.expectTrained('mlflow');
    expect(projects.read('mlflow', 'mlruns/0/0123456789abcdef/params/by')).toBe('conda');
  });

  it('of a uv workspace below the root uses its lock file and the library of the workspace', async () => {
    await projects.expectTrained('uv');
    expect(projects.read('uv', 'out/model.json')).toBe('["uv", 2]');
    expect(await projects.affected('py/uv.lock')).toEqual(['uv']);
    // The library is editable: its edit takes effect in the environment that is there.
    projects.shop.write('py/libs/features/src/features/__init__.py', 'SCALE = 3\n');
    await projects.train('uv');
    expect(projects.read('uv', 'out/model.json')).toBe('["uv", 3]');
  });

  it('of poetry with a library in its own directory', async () => {
    await projects.expectTrained('poetry');
    expect(projects.read('poetry', 'out/model.json')).toBe('["poetry", 1]');
  });

  it('with a git submodule sends the files of the submodule', async () => {
    const at = join(projects.shop.workspace, 'submodule/vendor/nets');
    const nested = (...words: string[]) =>
      projects.git('-C', at, '-c', 'user.name=a', '-c', 'user.email=a@b', ...words);
    projects.git('rm', '-q', '-r', '--cached', 'submodule/vendor/nets');
    nested('init', '-q');
    nested('add', '-A');
    nested('commit', '-q', '-m', 'nets');
    projects.git('submodule', '--quiet', 'add', 'https://git.invalid/nets.git', 'submodule/vendor/nets');
    await projects.expectTrained('submodule');
    // git names the submodule, not the files in it.
    expect(await projects.affected('submodule/vendor/nets')).toEqual(['submodule']);
  });

  const installed = (program: string) => spawnSync(program, ['--version']).status === 0;
  (installed('Rscript') ? it : it.skip)('of R', async () => void (await projects.expectTrained('r')));
  (installed('julia') ? it : it.skip)('of Julia', async () => void (await projects.expectTrained('julia')));
});
