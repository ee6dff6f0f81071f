import { spawnSync } from 'node:child_process';

/** A project in `projects/`, and what is right for it. Paths are project-relative. */
export interface Framework {
  /** Modules that it needs. */
  modules: string[];
  /** `train`, and `sync`, as `training-targets` writes them. */
  detected: { train: object; sync?: object };
  /** What the user adds to `train`. */
  added?: object;
  /** What comes back, and nothing else does. */
  results: RegExp[];
  metrics: string[];
  interrupted?: {
    /** The step in which the first attempt waits for the interruption. */
    pause: number;
    /** The name of the checkpoint that is to be in the store before. */
    unit: RegExp;
    /** What the second attempt says. */
    resumed: RegExp;
    result: string;
  };
}

const script = 'train.py';

export const FRAMEWORKS: Record<string, Framework> = {
  makemore: {
    modules: ['torch', 'tensorboard'],
    detected: {
      train: {
        script: 'names.py',
        outputs: ['out/'],
        checkpoints: { paths: ['out/model.pt'] },
        resumeArgs: '--resume',
      },
    },
    results: [/^out\/model\.pt$/, /^out\/events\.out\.tfevents\./],
    metrics: ['Loss/test', 'loss', 'step', 'step_time', 'test_loss', 'train_loss'],
  },
  nanogpt: {
    modules: ['torch', 'numpy'],
    detected: {
      sync: { include: ['data/letters/*.bin', 'data/letters/meta.pkl'] },
      train: {
        script,
        outputs: ['out/'],
        checkpoints: { paths: ['out/ckpt.pt'] },
        resumeArgs: '--init_from=resume',
      },
    },
    results: [/^out\/ckpt\.pt$/],
    metrics: ['iter', 'loss', 'mfu', 'step', 'time', 'train_loss', 'val_loss'],
    interrupted: {
      pause: 70,
      unit: /^\.\/out\/ckpt\.pt$/,
      resumed: /Resuming training from out/,
      result: 'out/ckpt.pt',
    },
  },
  torchrun: {
    modules: ['torch'],
    detected: {
      train: {
        command: 'torchrun --standalone --nproc_per_node=auto train.py',
        outputs: ['snapshot.pt'],
        checkpoints: { paths: ['snapshot.pt'] },
      },
    },
    results: [/^snapshot\.pt$/],
    metrics: ['Batchsize', 'Epoch', 'Loss', 'Steps'],
    interrupted: {
      pause: 6,
      unit: /^\.\/snapshot\.pt$/,
      result: 'snapshot.pt',
      resumed: /Resuming training from snapshot at Epoch 6/,
    },
  },
  trainer: {
    modules: ['torch', 'transformers', 'accelerate'],
    detected: { train: { script, outputs: ['output/'], checkpoints: { paths: ['output/checkpoint-*'] } } },
    results: [/^output\/(?:checkpoint-(?:40|48)\/)?[\w.]+$/],
    metrics: [
      ...['epoch', 'eval_loss', 'eval_runtime', 'eval_samples_per_second', 'eval_steps_per_second', 'grad_norm'],
      ...['learning_rate', 'loss', 'train_loss', 'train_runtime', 'train_samples_per_second', 'train_steps_per_second'],
    ],
    interrupted: {
      pause: 25,
      unit: /^\.\/output\/checkpoint-20$/,
      result: 'output/model.safetensors',
      resumed: /Resuming from output\/checkpoint-20/,
    },
  },
  lightning: {
    modules: ['torch', 'lightning', 'tensorboard'],
    detected: {
      train: { script, outputs: ['lightning_logs/'], checkpoints: { paths: ['lightning_logs/**/checkpoints'] } },
    },
    results: [
      /^lightning_logs\/weights\.pt$/,
      /^lightning_logs\/version_\d+\/(?:hparams\.yaml|metrics\.csv|events\.out\.tfevents\..*|checkpoints\/[\w=-]+\.ckpt)$/,
    ],
    metrics: ['Epoch', 'epoch', 'hp_metric', 'step', 'train_loss', 'val_loss'],
    interrupted: {
      pause: 36,
      unit: /^\.\/lightning_logs\/version_\d\/checkpoints\/epoch=3-step=32\.ckpt$/,
      result: 'lightning_logs/weights.pt',
      resumed: /Restored all states from the checkpoint/,
    },
  },
  hydra: {
    modules: ['torch', 'hydra'],
    detected: { train: { script, outputs: ['outputs/', 'multirun/'] } },
    results: [/^outputs\/[\d-]+\/[\d-]+\/(?:\.hydra\/(?:config|hydra|overrides)\.yaml|model\.pt|train\.log)$/],
    metrics: ['epoch', 'loss'],
  },
  sweep: {
    modules: ['torch', 'hydra'],
    detected: { train: { script, outputs: ['outputs/', 'multirun/'] } },
    added: { args: '-m optimizer.lr=0.1,0.05' },
    results: [
      /^multirun\/[\d-]+\/[\d-]+\/(?:multirun\.yaml|[01]\/(?:\.hydra\/(?:config|hydra|overrides)\.yaml|model\.pt|train\.log))$/,
    ],
    metrics: ['epoch', 'loss'],
  },
  wandb: {
    modules: ['torch', 'wandb', 'tensorboard'],
    detected: { train: { script, outputs: ['runs/', 'wandb/'] } },
    added: { env: { WANDB_MODE: 'offline' } },
    results: [
      /^runs\/[^/]+\/events\.out\.tfevents\./,
      /^wandb\/offline-run-[^/]+\/(?:run-.*\.wandb|files\/.*|logs\/debug.*\.log)$/,
      /^wandb\/debug(?:-internal)?\.log$/,
    ],
    metrics: ['loss', 'step'],
  },
  mlflow: {
    modules: ['torch', 'mlflow'],
    detected: { train: { script, outputs: ['model.pt', 'mlruns/', 'mlflow.db'] } },
    results: [
      /^model\.pt$/,
      // MLflow 3 has a database, MLflow 2 files.
      /^(?:mlflow\.db|mlruns\/\d+\/meta\.yaml)$/,
      /^mlruns\/\d+\/[^/]+\/(?:artifacts\/model\/model\.pt|meta\.yaml|(?:metrics|params|tags)\/.*)$/,
    ],
    metrics: ['epoch', 'loss'],
  },
  tensorflow: {
    modules: ['tensorflow'],
    detected: { train: { script, outputs: ['weights.npz', 'tf_ckpts/'], checkpoints: { paths: ['tf_ckpts'] } } },
    results: [/^weights\.npz$/, /^tf_ckpts\/(?:checkpoint|ckpt-[456]\.(?:index|data-00000-of-00001))$/],
    metrics: ['loss', 'step'],
    interrupted: {
      pause: 35,
      unit: /^\.\/tf_ckpts(?:$|\/ckpt-3)/,
      result: 'weights.npz',
      resumed: /Restored from \.\/tf_ckpts\/ckpt-3/,
    },
  },
  keras: {
    modules: ['keras', 'tensorflow', 'tensorboard'],
    detected: {
      train: {
        script,
        outputs: ['final.keras', 'weights.npz', 'backup/', 'best.keras', 'logs/'],
        checkpoints: { paths: ['backup', 'best.keras'] },
      },
    },
    results: [
      /^(?:final|best)\.keras$/,
      /^weights\.npz$/,
      /^logs\/(?:train|validation)\/events\.out\.tfevents\..*\.v2$/,
    ],
    metrics: ['epoch_learning_rate', 'epoch_loss', 'evaluation_loss_vs_iterations', 'loss', 'step', 'val_loss'],
    interrupted: {
      pause: 5,
      unit: /^\.\/backup/,
      result: 'weights.npz',
      resumed: /The first epoch of this attempt: 5/,
    },
  },
};

/** The modules that a Python lacks. */
export function missingModules(python: string, modules: readonly string[]): string[] {
  const program =
    'import importlib.util as u, json, sys; print(json.dumps([n for n in sys.argv[1:] if not u.find_spec(n)]))';
  const { stdout, status, error } = spawnSync(python, ['-c', program, ...modules], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`NX_EC2_TORCH_PYTHON names ${python}, which can't be run: ${error ?? status}`);
  return JSON.parse(stdout) as string[];
}
