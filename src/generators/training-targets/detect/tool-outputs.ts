import { posix } from 'node:path';
import { hydraDirectories } from './hydra';
import { argumentOf, type Program } from './program';
import type { ProjectFiles } from './project-files';
import { whyOf } from './writes';
import type { Call, Source } from './source-types';

/** A directory or file that a library writes by itself. */
export interface ToolOutput {
  path: string;
  kind: 'file' | 'directory';
  why: string;
  /** The checkpoints in it, as `train.checkpoints.paths` names them; null: it holds none. */
  checkpoints: string | null;
}

type Found = Omit<ToolOutput, 'why'>;

interface Rule {
  name: RegExp;
  /** @param text the value of an argument; null: it is not given, or not known. */
  outputs(text: (keyword: string, position?: number) => string | null, has: (keyword: string) => boolean): Found[];
}

const directory = (path: string, checkpoints: string | null = null): Found => ({
  path,
  kind: 'directory',
  checkpoints,
});

const RULES: Rule[] = [
  {
    // transformers and trl
    name: /(?:^|\.)(?:\w*TrainingArguments|(?:SFT|DPO|GRPO|PPO|ORPO|KTO|CPO|Reward|RLOO)Config)$/,
    outputs(text, has) {
      const path = text('output_dir', 0) ?? (has('output_dir') ? null : 'trainer_output');
      return path === null ? [] : [directory(path, posix.join(path, 'checkpoint-*'))];
    },
  },
  {
    name: /^(?:lightning|pytorch_lightning)(?:\.\w+)*\.(?:Trainer|LightningCLI)$/,
    outputs(text) {
      const logs = posix.join(text('default_root_dir') ?? '', 'lightning_logs');
      return [directory(logs, `${logs}/**/checkpoints`)];
    },
  },
  {
    name: /(?:^|\.)(?:TensorBoardLogger|CSVLogger)$/,
    outputs(text) {
      const path = text('save_dir', 0);
      if (path === null) return [];
      // The file of Keras's.
      if (/\.\w+$/.test(path)) return [{ path, kind: 'file', checkpoints: null }];
      const own = posix.normalize(path) === '.' ? text('name', 1) || 'lightning_logs' : path;
      return [directory(own, posix.join(own, '**/checkpoints'))];
    },
  },
  {
    name: /^(?:lightning|pytorch_lightning)(?:\.\w+)*\.WandbLogger$/,
    outputs(text) {
      const project = text('project') ?? 'lightning_logs';
      return [directory(posix.join(text('save_dir') ?? '', 'wandb')), directory(project, `${project}/*/checkpoints`)];
    },
  },
  {
    name: /(?:^|\.)ModelCheckpoint$/,
    outputs(text) {
      const path = text('dirpath', 0) ?? text('filepath', 0);
      if (path === null) return [];
      // The file of Keras's; the directory of Lightning's.
      return /\.\w+$/.test(path) ? [{ path, kind: 'file', checkpoints: path }] : [directory(path, path)];
    },
  },
  { name: /(?:^|\.)BackupAndRestore$/, outputs: (text) => ofDirectory(text('backup_dir', 0), true) },
  { name: /(?:^|\.)CheckpointManager$/, outputs: (text) => ofDirectory(text('directory', 1), true) },
  {
    name: /(?:^|\.)SummaryWriter$/,
    outputs: (text, has) =>
      ofDirectory(text('log_dir', 0) ?? text('logdir', 0) ?? (has('log_dir') || has('logdir') ? null : 'runs'), false),
  },
  {
    name: /(?:^|\.)callbacks\.TensorBoard$|^TensorBoard$/,
    outputs: (text, has) => ofDirectory(text('log_dir', 0) ?? (has('log_dir') ? null : 'logs'), false),
  },
  { name: /^wandb\.init$/, outputs: (text) => [directory(posix.join(text('dir') ?? '', 'wandb'))] },
  { name: /\.save_state$/, outputs: (text) => ofDirectory(text('output_dir', 0), true) },
  { name: /\.save_checkpoint$/, outputs: (text) => ofDirectory(text('save_dir', 0), true) },
  { name: /^ultralytics\.\w+$/, outputs: () => [directory('runs', 'runs/**/weights')] },
  { name: /^catboost\.\w+$/, outputs: () => [directory('catboost_info')] },
  { name: /^dvclive\.Live$/, outputs: (text) => [directory(text('dir', 0) ?? 'dvclive')] },
];

function ofDirectory(path: string | null, holdsCheckpoints: boolean): Found[] {
  return path === null || posix.extname(path) !== '' ? [] : [directory(path, holdsCheckpoints ? path : null)];
}

/** What the libraries that the sources use write by themselves. */
export function toolOutputs(program: Program, files: ProjectFiles): ToolOutput[] {
  const found = program.sources.flatMap((source) =>
    source.calls.flatMap((call) => {
      if (call.isDefinition) return [];
      const rule = RULES.find(({ name }) => name.test(call.name));
      if (!rule) return [];
      const of = argumentsOf(program, source, call);
      return rule.outputs(of.text, of.has).map((each) => ({ ...each, why: whyOf(source, call) }));
    }),
  );
  return [...found, ...ofMlflow(program), ...ofHydra(program, files)];
}

function argumentsOf({ value }: Program, source: Source, call: Call) {
  return {
    text: (keyword: string, position = Infinity) => {
      const range = argumentOf(call, keyword, position);
      return range && value(source, range);
    },
    has: (keyword: string) => call.args.some((each) => each.keyword === keyword || each.keyword === null),
  };
}

/** Where MLflow keeps its runs: a directory, or since MLflow 3.7 a database; nothing where a server does. */
function ofMlflow(program: Program): ToolOutput[] {
  const uses = program.sources.flatMap((source) =>
    source.imports.filter(({ module }) => /^mlflow(?:\.|$)/.test(module)).map((each) => ({ source, ...each })),
  );
  if (uses.length === 0) return [];
  for (const source of program.sources) {
    for (const call of source.calls.filter(({ name }) => name === 'mlflow.set_tracking_uri')) {
      const uri = argumentsOf(program, source, call).text('uri', 0);
      const why = whyOf(source, call);
      if (uri === null || /^(?!file:|sqlite:)[a-z]+:/.test(uri)) return [];
      if (uri.startsWith('sqlite:'))
        return [
          { path: uri, kind: 'file', why, checkpoints: null },
          { path: 'mlruns', kind: 'directory', why, checkpoints: null },
        ];
      return [{ path: uri, kind: 'directory', why, checkpoints: null }];
    }
  }
  const why = `${uses[0].source.path}:${uses[0].line} mlflow`;
  return [
    { path: 'mlruns', kind: 'directory', why, checkpoints: null },
    { path: 'mlflow.db', kind: 'file', why, checkpoints: null },
  ];
}

function ofHydra({ sources }: Program, files: ProjectFiles): ToolOutput[] {
  const main = sources.flatMap((source) =>
    source.calls.filter(({ name }) => name === 'hydra.main').map((call) => ({ source, call })),
  )[0];
  if (!main) return [];
  const set = hydraDirectories(files);
  return (['run', 'sweep'] as const).map((kind) => ({
    path: set[kind]?.directory ?? (kind === 'run' ? 'outputs' : 'multirun'),
    kind: 'directory',
    why: set[kind]?.why ?? whyOf(main.source, main.call),
    checkpoints: null,
  }));
}
