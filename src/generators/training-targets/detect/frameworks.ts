import type { Program } from './program';
import type { Finding } from './findings';

/** What a project trains with, and the packages that tell. */
const FRAMEWORKS: [name: string, modules: RegExp][] = [
  ['Transformers', /^(?:transformers|trl)(?:\.|$)/],
  ['Lightning', /^(?:lightning|pytorch_lightning)(?:\.|$)/],
  ['Accelerate', /^accelerate(?:\.|$)/],
  ['DeepSpeed', /^deepspeed(?:\.|$)/],
  ['Keras', /^(?:keras|tf_keras|tensorflow\.keras|tensorflow\.python\.keras)(?:\.|$)/],
  ['TensorFlow', /^tensorflow(?:\.|$)/],
  ['torch.distributed', /^torch\.(?:distributed|nn\.parallel)(?:\.|$)/],
  ['PyTorch', /^torch(?:\.|$)/],
  ['JAX', /^(?:jax|flax|optax|orbax|equinox)(?:\.|$)/],
  ['scikit-learn', /^(?:sklearn|joblib)(?:\.|$)/],
  ['XGBoost', /^xgboost(?:\.|$)/],
  ['LightGBM', /^lightgbm(?:\.|$)/],
  ['CatBoost', /^catboost(?:\.|$)/],
  ['Ultralytics', /^ultralytics(?:\.|$)/],
  ['Hydra', /^hydra(?:\.|$)/],
  ['W&B', /^wandb(?:\.|$)/],
  ['MLflow', /^mlflow(?:\.|$)/],
  ['TensorBoard', /^(?:torch\.utils\.tensorboard|tensorboardX)(?:\.|$)/],
  ['DVCLive', /^dvclive(?:\.|$)/],
];

/** The frameworks that the sources import, with the first place. */
export function frameworks({ sources }: Pick<Program, 'sources'>): Finding[] {
  return FRAMEWORKS.flatMap(([name, modules]) => {
    for (const source of sources) {
      const found = source.imports.find(
        ({ module, names }) => modules.test(module) || names.some((each) => modules.test(`${module}.${each}`)),
      );
      if (found) return [{ value: name, why: `${source.path}:${found.line}` }];
    }
    return [];
  });
}
