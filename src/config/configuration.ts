import { existsSync, realpathSync } from 'node:fs';
import { posix, relative, resolve } from 'node:path';
import type { z } from 'zod';
import type { InstanceName } from '../config/instance-name';
import { fileProblem } from '../report/file-problem';
import { Problem } from '../report/problem';
import { printable } from '../report/terminal-text';
import { allOutputs, checkpointPaths, literalOutputs, outputFault, readOutputs, type Output } from './outputs';
import { CONFIG_FILE, declaredConfiguration, readConfigFile } from './config-file';
import { describes, isObject, merge, type Raw } from './merge';
import { pluginOptions } from './plugin-options';
import { enforcePolicy } from './policy';
import { descriptionSchema, readDescription } from './description';
import { configurationSchema, NAMING, trainShape } from './schema';
import { settingsDigest } from './result-settings';
import { explainIssue, nearest } from './explain-issue';
import { splitCommand, splitWords } from './words';
import { environmentChoice, type EnvironmentChoice } from './environment-choice';

export type TargetName =
  | 'remote-sync'
  | 'remote-watch'
  | 'remote-train'
  | 'remote-submit'
  | 'remote-logs'
  | 'remote-status'
  | 'remote-cancel'
  | 'remote-pull'
  | 'remote-exec'
  | 'remote-shell'
  | 'remote-up'
  | 'remote-down'
  | 'remote-doctor';

/** The validated configuration of one command. Durations are ms, sizes bytes, command lines lists of words. */
export interface Configuration {
  projectRoot: string;
  /**
   * Decides which files the environment is made of: by the files alone, as the cache key, which knows no options of a
   * target.
   */
  declaredEnvironment: EnvironmentChoice;
  /** The digest of what the files say that can change a training's result: see `settingsDigest`. */
  declaredSettings: string;
  region?: string;
  profile?: string;
  roleArn?: string;
  bucket: string;
  prefix: string;
  bucketOwner?: string;
  kmsKeyId?: string;
  storeAccess: 'auto' | 'role' | 'presigned';
  instance: InstanceName & { wait: number };
  /** Several, for remote-sync alone; the first is `instance`. */
  instances: InstanceName[];
  pricePerHour?: number;
  remoteRoot?: string;
  user?: string;
  sync: {
    include: string[];
    exclude: string[];
    dependencies: boolean;
    tree?: string;
    strategy: 'auto' | 'store' | 'archive';
    inline: boolean;
    secret: string[];
    compression: number | 'auto';
    warnSize: number;
  };
  train: {
    script?: string;
    command?: string[];
    args: string[];
    env: Record<string, string>;
    setup: string[][] | null;
    environment: 'auto' | 'uv' | 'poetry' | 'conda' | 'pip' | 'none';
    installer: 'auto' | 'uv' | 'pip';
    /** With the output directory, which is always one. */
    outputs: Output[];
    downloadLimit: number;
    /** As outputs, for what is no result. */
    scratch: Output[];
    extraLimit: number;
    maxArtifactSize: number;
    timeout?: number;
    grace: number;
    passEnv: string[];
    secrets: Record<string, string>;
    secretsFrom: 'instance' | 'client';
    resumeArgs: string[];
    retry: { exitCodes: number[]; attempts: number };
    checkpoints: {
      keep: number;
      every?: number;
      /** In the project, beside NX_EC2_CHECKPOINT_DIR. */
      paths: Output[];
    };
    memory?: number;
    cores?: number;
    claim: { exclusive: boolean; gpus: number };
    data: { source: string; path: string; key: boolean }[];
    index?: string;
    metrics: { file?: string; idle: number | false };
    onCancel?: 'detach' | 'stop';
  };
}

export interface ConfigurationInput {
  workspaceRoot: string;
  projectName: string;
  /** Workspace-relative. */
  projectRoot: string;
  nxJson: { plugins?: unknown[] };
  /** The target's options as Nx hands them over: command line, `-c` and target options, merged. */
  options: Record<string, unknown>;
  target: TargetName;
  environment?: NodeJS.ProcessEnv;
}

const WAIT = 5 * 60_000;
/** Options that are the executor's own, not the configuration's. */
const REPORTING: Record<TargetName, string[]> = {
  'remote-sync': ['dryRun', 'force', 'verbose', 'json'],
  'remote-watch': ['force', 'verbose', 'json'],
  'remote-train': ['dryRun', 'force', 'verbose', 'json', 'rerun', 'resume'],
  'remote-submit': ['dryRun', 'force', 'verbose', 'json', 'rerun', 'resume'],
  'remote-logs': ['run', 'since', 'tail', 'follow', 'verbose', 'json'],
  'remote-status': ['run', 'watch', 'limit', 'verbose', 'json'],
  'remote-cancel': ['run', 'force', 'verbose', 'json'],
  'remote-pull': ['run', 'path', 'checkpoints', 'output', 'overwrite', 'verbose', 'json'],
  'remote-exec': ['run', 'command', 'verbose', 'json'],
  'remote-shell': ['run', 'verbose', 'json'],
  'remote-up': ['verbose', 'json'],
  'remote-down': ['stop', 'force', 'verbose', 'json'],
  'remote-doctor': ['verbose', 'json'],
};

/**
 * One validated object of, highest first: the target's options, ec2.config.json, the plugin's options in nx.json.
 * @throws Problem that names the place, the key and what is allowed.
 */
export function resolveConfiguration(input: ConfigurationInput): Configuration {
  const options = optionValues(input);
  const own = readConfigFile(input.workspaceRoot, input.projectRoot);
  const plugin = pluginOptions(input.nxJson, input.projectRoot);
  const sources: { where: string; values: Raw }[] = [
    { where: 'the options of nx-ec2 in nx.json', values: plugin },
    { where: posix.join(input.projectRoot, CONFIG_FILE), values: own },
    { where: `the options of ${input.projectName}:${input.target}`, values: options },
  ];
  let merged: Raw = {};
  for (const { where, values } of sources) {
    validate(values, where, values === options ? optionNames(input.target) : undefined);
    merged = merge(merged, values);
  }
  const value = validate(merged, sources.map(({ where }) => where).join(', '));
  if (!value.bucket) throw missing(input, 'bucket', 'the name of the S3 bucket that everything travels through');
  if (value.instance === undefined)
    throw missing(input, 'instance', 'an instance id ("i-…"), a Name, { "tag": { … } }, or { "type": "…" }');
  const declared = declaredConfiguration(plugin, own);
  const configuration: Configuration = {
    ...value,
    projectRoot: input.projectRoot,
    declaredEnvironment: environmentChoice(declared.train),
    declaredSettings: settingsDigest(declared),
    bucket: value.bucket,
    ...instancesOf(input, value.instance),
    train: trainOf(input, value.train),
  };
  delete (configuration as { $schema?: string }).$schema;
  enforcePolicy(configuration, input.workspaceRoot, input.environment ?? process.env);
  return configuration;
}

/** Options of the executors' own that are numbers; the others are text, or are no numbers at all. */
const NUMBERS = new Set(['tail', 'limit']);

/**
 * A target's options, where Nx made numbers of texts that look like one, as they were typed: each that is text.
 * @param asTyped an option's value with the text of each number that was typed.
 */
export function textOptions(target: TargetName, options: Raw, asTyped: (key: string, value: unknown) => unknown): Raw {
  const schemas: Record<string, z.ZodType> = { ...configurationSchema.shape };
  for (const key of trainOptions(target)) schemas[key] = trainShape[key as keyof typeof trainShape];
  return Object.fromEntries(
    Object.entries(options).map(([key, value]) => {
      const typed = asTyped(key, value);
      const own = REPORTING[target].includes(key);
      const isText = own ? !NUMBERS.has(key) : schemas[key] !== undefined && takesText(schemas[key], typed);
      return [key, isText ? typed : value];
    }),
  );
}

/** Whether a schema takes a value as the kind of value that it is; what is wrong with its content is told later. */
function takesText(schema: z.ZodType, value: unknown): boolean {
  const { error } = schema.safeParse(value);
  return !error?.issues.some(
    ({ code }) => code === 'invalid_type' || code === 'invalid_union' || code === 'invalid_value',
  );
}

function optionValues(input: ConfigurationInput): Raw {
  const values: Raw = {};
  const train: Raw = {};
  for (const [key, value] of Object.entries(input.options)) {
    if (value === undefined || key === '__unparsed__' || key === '_' || REPORTING[input.target].includes(key)) continue;
    if (trainOptions(input.target).includes(key)) train[key] = value;
    else values[key] = value;
  }
  if (Object.keys(train).length) values.train = merge((values.train as Raw) ?? {}, train);
  return values;
}

/** Keys of `train` that are options of the target by themselves. */
function trainOptions(target: TargetName): string[] {
  if (target === 'remote-cancel') return ['grace'];
  return isTraining(target) ? Object.keys(trainShape) : [];
}

function isTraining(target: TargetName): boolean {
  return target === 'remote-train' || target === 'remote-submit';
}

/** All options that a target takes. */
export function optionNames(target: TargetName): string[] {
  const own = Object.keys(configurationSchema.shape).filter((key) => key !== '$schema');
  return [...trainOptions(target), ...REPORTING[target], ...own];
}

/**
 * Checks what the files say of a project, without a command line: called when the project graph is made, so that a
 * cache hit can't hide a wrong value of a key that is not part of the cache key.
 * @returns the first problem; null: none. A key that is not set is none, since the command line may set it.
 */
export function findConfigurationProblem(plugin: Raw, workspaceRoot: string, projectRoot: string): Problem | null {
  const input: ConfigurationInput = {
    ...{ workspaceRoot, projectRoot, projectName: projectRoot, nxJson: {}, options: {}, target: 'remote-sync' },
  };
  try {
    const own = readConfigFile(workspaceRoot, projectRoot);
    const where = posix.join(projectRoot, CONFIG_FILE);
    validate(plugin, 'the options of nx-ec2 in nx.json');
    validate(own, where);
    const value = validate(merge(plugin, own), where);
    if (value.instance !== undefined) instancesOf(input, value.instance);
    trainOf(input, value.train);
    return null;
  } catch (error) {
    const problem = error instanceof Problem ? error : fileProblem(error);
    if (!problem) throw error;
    return problem.code === 'CONFIG_MISSING' ? null : problem;
  }
}

/** @param top the keys that are allowed at the top, where they are not those of ec2.config.json. */
function validate(
  values: Raw,
  where: string,
  top = Object.keys(configurationSchema.shape),
): z.infer<typeof configurationSchema> {
  const result = configurationSchema.safeParse(values);
  if (result.success) return result.data;
  const issues = result.error.issues.flatMap((issue) => meant(issue, values));
  const lines = issues.map((issue) => {
    const path = issue.path.join('.');
    if (issue.code === 'unrecognized_keys') {
      const shape =
        path === 'sync'
          ? Object.keys(configurationSchema.shape.sync.unwrap().shape)
          : path === 'train'
            ? Object.keys(trainShape)
            : path.startsWith('instance')
              ? Object.keys(descriptionSchema.shape)
              : top;
      const keys = issue.keys.map((key) => [path, key].filter(Boolean).join('.'));
      const replaced = keys.flatMap((key) => (REPLACED.has(key) ? [`  ${key}: unknown; ${REPLACED.get(key)}`] : []));
      const advice = issue.keys.flatMap((key, index) => {
        if (REPLACED.has(keys[index])) return [];
        const guess = top.includes('$schema') && !path && !shape.includes(key) && key in trainShape;
        const near = guess ? undefined : nearest(key, shape);
        if (!guess && near === undefined) return [];
        const text = guess ? `unknown here; write it inside "train"` : `unknown; did you mean "${near}"?`;
        return [{ key: keys[index], text: `  ${printable(keys[index])}: ${text}` }];
      });
      replaced.push(...advice.map(({ text }) => text));
      const unknown = keys.filter((key) => !REPLACED.has(key) && !advice.some((each) => each.key === key));
      if (unknown.length > 0)
        replaced.push(`  ${unknown.map(printable).join(', ')}: unknown; allowed are ${shape.join(', ')}`);
      return replaced.join('\n');
    }
    return `  ${printable(path) || '(top)'}: ${explainIssue(issue, values)}`;
  });
  throw new Problem('CONFIG_INVALID', `${where}:\n${lines.join('\n')}`);
}

/** Keys that have another name by now, or another form, and how to write what they said. */
const REPLACED: ReadonlyMap<string, string> = new Map([
  ['train.outputDir', 'to bring back the files that are left in a directory, write "outputs": ["<directory>/"]'],
  ['train.artifacts', 'write "outputs", with "download" in the place of "fetch"'],
  ['train.fetchLimit', 'write "downloadLimit"'],
]);

type Issue = z.core.$ZodIssue;

/** What is wrong with the one form of `instance` that was meant, instead of with all of them. */
function meant(issue: Issue, values: Raw): Issue[] {
  const { instance } = values;
  if (issue.code !== 'invalid_union' || issue.path.join('.') !== 'instance' || !isObject(instance)) return [issue];
  const key = NAMING.find((each) => each in instance);
  const forms = configurationSchema.shape.instance.unwrap().options;
  const form = forms.findIndex((each) => 'shape' in each && (key ? key in each.shape : 'type' in each.shape));
  return issue.errors[form].map((each) => ({ ...each, path: ['instance', ...each.path] }));
}

function missing(input: ConfigurationInput, key: string, what: string): Problem {
  return new Problem('CONFIG_MISSING', `"${key}" is not set for ${input.projectName}.`, {
    next: `Set it to ${what} in ${posix.join(input.projectRoot, CONFIG_FILE)}, in the options of nx-ec2 in nx.json, or by --${key}.`,
  });
}

type Instance = Exclude<NonNullable<z.infer<typeof configurationSchema>['instance']>, unknown[]>;
type Named = Exclude<Instance, string>;

function instancesOf(
  input: ConfigurationInput,
  value: NonNullable<z.infer<typeof configurationSchema>['instance']>,
): Pick<Configuration, 'instance' | 'instances'> {
  const all = [value].flat().map((each) => instanceName(input, each));
  const [first] = all;
  if (input.target !== 'remote-sync' && (all.length > 1 || ('tag' in first && first.all))) {
    throw new Problem('CONFIG_INVALID', `${input.target} takes one instance, and "instance" names several.`, {
      next: `Name one of them: --instance=i-….`,
    });
  }
  return { instance: first, instances: all.map(({ wait: _, ...name }) => name) };
}

function instanceName(input: ConfigurationInput, value: Instance): Configuration['instance'] {
  if (typeof value === 'string') {
    if (/^i-[0-9a-f]{8,17}$/.test(value)) return { id: value, wait: WAIT };
    if (!/^i-\S*$/.test(value)) return { name: value, wait: WAIT };
    throw new Problem('CONFIG_INVALID', `instance: "${printable(value)}" is not an instance id.`, {
      next: 'Write an id such as "i-0123456789abcdef0"; if it is the Name of an instance, write { "name": … }.',
    });
  }
  if (isNamed(value)) return { ...value, wait: value.wait ?? WAIT };
  const described = readDescription(value);
  if (!('wrong' in described)) return { described, wait: value.wait };
  throw described.missing
    ? missing(input, described.wrong, 'an instance type, or a list of them')
    : new Problem('CONFIG_INVALID', described.wrong);
}

function isNamed(value: Named): value is Exclude<Named, { onFinish: unknown }> {
  return !describes(value);
}

function trainOf(
  input: ConfigurationInput,
  train: z.infer<typeof configurationSchema>['train'],
): Configuration['train'] {
  if (isTraining(input.target) && (train.script === undefined) === (train.command === undefined)) {
    throw train.script === undefined
      ? missing(input, 'train.script', 'the Python script to run (or "train.command" to a command)')
      : new Problem('CONFIG_INVALID', `Both "script" and "command" are set for ${input.projectName}.`, {
          next: 'Keep one.',
        });
  }
  const outputs = allOutputs(train.outputs);
  const scratch = readOutputs(train.scratch);
  const checkpoints = { ...train.checkpoints, paths: checkpointPaths(train) };
  for (const [key, entries] of Object.entries({ outputs, scratch, 'checkpoints.paths': checkpoints.paths })) {
    for (const entry of entries) {
      const fault = outputFault(entry);
      if (fault !== null) throw new Problem('CONFIG_INVALID', `train.${key}: ${printable(entry.path)} ${fault}.`);
    }
  }
  for (const path of literalOutputs(outputs)) inside(input, 'train.outputs', path);
  for (const path of literalOutputs(checkpoints.paths)) inside(input, 'train.checkpoints.paths', path);
  const data = train.data.map((each) => ({ ...each, path: inside(input, 'train.data', each.path) }));
  const list = (value: string | string[], what: string) =>
    typeof value === 'string' ? splitWords(value, what) : value;
  return {
    ...train,
    script: train.script === undefined ? undefined : inside(input, 'train.script', train.script),
    command:
      train.command === undefined
        ? undefined
        : typeof train.command === 'string'
          ? splitCommand(train.command, 'train.command')
          : train.command,
    args: list(train.args, 'train.args'),
    setup:
      train.setup === undefined
        ? null
        : train.setup === false
          ? []
          : [train.setup].flat().map((line) => splitCommand(line, 'train.setup')),
    outputs,
    scratch,
    checkpoints,
    resumeArgs: list(train.resumeArgs, 'train.resumeArgs'),
    claim:
      typeof train.claim === 'string'
        ? { exclusive: train.claim === 'exclusive', gpus: 0 }
        : { exclusive: false, ...train.claim },
    data,
  };
}

/** A path that must stay inside the project, by text and, where it exists, really. */
function inside(input: ConfigurationInput, key: string, path: string): string {
  const normal = posix.normalize(path).replace(/\/$/, '');
  const refuse = () => {
    throw new Problem('CONFIG_OUTSIDE', `${key}: ${printable(path)} is not inside the project ${input.projectName}.`);
  };
  if (posix.isAbsolute(normal) || normal === '.' || normal === '..' || normal.startsWith('../')) refuse();
  const absolute = resolve(input.workspaceRoot, input.projectRoot, normal);
  if (existsSync(absolute)) {
    const from = relative(realpathSync(input.workspaceRoot), realpathSync(absolute));
    if (from.startsWith('..')) refuse();
  }
  return normal;
}
