import { posix } from 'node:path';
import { isGlob } from '../../../config/syntax/glob';
import { quoteWord, splitCommand } from '../../../config/syntax/words';
import { checked, cleaned, globOf, isOutside, Outputs, type Finding } from './findings';
import { frameworks } from './frameworks';
import { ignoredData } from './ignored-data';
import { argumentOf, readProgram, type Program } from './program';
import type { ProjectFiles } from './project-files';
import { loadedPaths, resumeArguments } from './resume';
import { languageOf } from './source';
import { scriptsOfCommand, type Start } from './start';
import { toolOutputs } from './tool-outputs';
import { writes, whyOf, type Write } from './writes';

export interface Detection {
  frameworks: Finding[];
  outputs: Finding[];
  checkpoints: Finding[];
  scratch: Finding[];
  /** `sync.include`. */
  include: Finding[];
  /** `train.args`. */
  args: Finding | null;
  /** `train.resumeArgs`. */
  resume: Finding | null;
  /** Set where the script can't be started by itself. */
  command: Finding | null;
  /** What the user must know, or do. */
  notes: string[];
}

/** A name that says that a file can be resumed from. */
const CHECKPOINT = /(?:^|[-_./*\d])(?:ckpt|chkpt|checkpoints?|snapshots?|last|latest|epoch|step|iter)(?=[-_./*\d]|$)/i;

/**
 * What the sources of a project say of its training. None of its code is run.
 * @param tracked files of the project that git tracks. @param ignored those that it ignores.
 */
export function detect(
  files: ProjectFiles,
  start: Pick<Start, 'script' | 'command'>,
  tracked: readonly string[],
  ignored: readonly string[] = [],
): Detection {
  const scripts = start.script !== undefined ? [start.script] : scriptsOfCommand(wordsOf(start.command), files);
  const program = readProgram(files, scripts);
  const kept = [...tracked, ...files.paths.filter((path) => languageOf(path) !== null)];
  const outputs = new Outputs({ kept });
  const written = writes(program);
  const tools = toolOutputs(program, files);
  for (const { path, kind, why } of [...written, ...tools]) outputs.add(path, kind, why);
  const parser = fromCommandLine(program);
  if (parser) outputs.add('output', 'directory', parser);
  const checkpoints = new Map<string, Finding>();
  const loaded = loadedPaths(program);
  for (const each of written) addCheckpoint(checkpoints, each.path, checkpointWhy(each, loaded));
  for (const each of tools) addCheckpoint(checkpoints, each.checkpoints, each.checkpoints === null ? null : each.why);
  if (parser) addCheckpoint(checkpoints, 'output/checkpoint-*', parser);
  const saved = [...checkpoints.values()];
  const results = outputs.list();
  const scratch = downloads(program, kept);
  const values = (found: readonly Finding[]) => found.map(({ value }) => value);
  return {
    frameworks: frameworks(program),
    outputs: results,
    checkpoints: saved,
    scratch,
    include: ignoredData(program, ignored, {
      outputs: values(results),
      checkpoints: values(saved),
      scratch: values(scratch),
    }),
    args: parser ? { value: '--output_dir output', why: parser } : null,
    resume: resumeArguments(program, values(saved)),
    command: start.script === undefined ? null : launcher(program, start.script),
    notes: [
      ...outputs.outside.map(
        ({ value, why }) =>
          `${value} (${why}) is outside the project and is not saved: write to NX_EC2_OUTPUT_DIR instead`,
      ),
      ...requiredArguments(program, parser !== null),
      ...keyOfWandb(program),
      ...(files.isPartial ? ['the project is large: only some of its files were read'] : []),
    ],
  };
}

function wordsOf(command: string | undefined): string[] {
  return command === undefined ? [] : splitCommand(command, 'The command');
}

function checkpointWhy({ path, kind, why, isModel }: Write, loaded: ReadonlyMap<string, string>): string | null {
  if (!isModel || kind !== 'file') return null;
  const where = loaded.get(path);
  if (where) return `${why}, loaded at ${where}`;
  return CHECKPOINT.test(path.replace(/\0/g, '*').replace(/\.\w+$/, '')) ? why : null;
}

/** @param why null: it is none. */
function addCheckpoint(found: Map<string, Finding>, path: string | null, why: string | null): void {
  const plain = path === null || why === null ? null : cleaned(path);
  const glob = plain === null || isOutside(plain) ? null : globOf(plain);
  const value = glob && checked(glob);
  if (value && why !== null && !found.has(value)) found.set(value, { value, why });
}

/** Where the Trainer's output directory comes from the command line, which must name one. */
function fromCommandLine({ sources }: Program): string | null {
  for (const source of sources) {
    const call = source.calls.find(({ name }) => /(?:^|\.)(?:HfArgumentParser|TrlParser)$/.test(name));
    if (call && source.imports.some(({ module }) => /^(?:transformers|trl)/.test(module)))
      return `${source.path}:${call.line} ${posix.extname(`x.${call.name}`).slice(1)}`;
  }
  return null;
}

/** Data sets that a script downloads into the project. */
function downloads({ sources, value }: Program, kept: readonly string[]): Finding[] {
  const found = new Map<string, Finding>();
  for (const source of sources) {
    for (const call of source.calls) {
      if (
        !/^torch(?:vision|audio|text)\.datasets\.\w+$/.test(call.name) ||
        !call.args.some(({ keyword }) => keyword === 'download')
      )
        continue;
      const range = argumentOf(call, 'root', 0);
      const path = range && cleaned(value(source, range) ?? '');
      if (
        !path ||
        isOutside(path) ||
        isGlob(path) ||
        path.includes('\0') ||
        kept.some((each) => each.startsWith(`${path}/`))
      )
        continue;
      found.set(path, { value: `${path}/`, why: `${source.path}:${call.line} ${call.name}` });
    }
  }
  return [...found.values()];
}

/** A script that reads what only torchrun sets. */
function launcher({ sources }: Program, script: string): Finding | null {
  for (const { path, tokens } of sources) {
    const at = tokens.findIndex(
      ({ kind, text }, index) =>
        kind === 'string' &&
        /^(?:LOCAL_RANK|RANK|WORLD_SIZE)$/.test(text) &&
        tokens[index - 1]?.text === '[' &&
        tokens[index - 2]?.text === 'environ',
    );
    const sets = tokens.some(
      ({ text }, index) =>
        text === '=' &&
        tokens[index - 1]?.text === ']' &&
        /^(?:LOCAL_RANK|RANK|WORLD_SIZE)$/.test(tokens[index - 2]?.text ?? ''),
    );
    if (at >= 0 && !sets) {
      return {
        value: `torchrun --standalone --nproc_per_node=auto ${quoteWord(script)}`,
        why: `${path}:${tokens[at].line} ${tokens[at].text}`,
      };
    }
  }
  return null;
}

function requiredArguments(program: Program, isGiven: boolean): string[] {
  const required = program.arguments
    .filter(({ argument, source }) => argument.isRequired && source === program.sources[0])
    .map(({ argument }) => argument);
  const missing = required.filter(({ name }) => !(isGiven && name === 'output_dir'));
  if (missing.length === 0) return [];
  const { path } = program.sources[0];
  return [
    `${path}:${missing[0].line} needs arguments (${missing.map(({ flag }) => flag).join(', ')}): write them to "args" of "train", or pass them with --args`,
  ];
}

/** W&B ends a training that finds no key, unless it is told to work offline. */
function keyOfWandb({ sources, value }: Program): string[] {
  for (const source of sources) {
    const call = source.calls.find(({ name, isDefinition }) => name === 'wandb.init' && !isDefinition);
    if (!call) continue;
    const range = argumentOf(call, 'mode', Infinity);
    if (range && ['offline', 'disabled'].includes(value(source, range) ?? '')) return [];
    return [
      `W&B (${whyOf(source, call)}) needs a key: add "secrets": { "WANDB_API_KEY": "ssm:<parameter>" } to "train", or "env": { "WANDB_MODE": "offline" }`,
    ];
  }
  return [];
}
