import type { Finding } from './findings';
import { argumentOf, type Program } from './program';
import { isForWriting } from './writes';
import type { Call, Range, Source } from './source-types';

const LOADS =
  /(?:^|\.)(?:load|load_checkpoint|load_state|load_weights|load_model|load_file|restore|readRDS|read_rds|deserialize|readFile|readFileSync|from_pretrained)$/;
const OPENS = /^(?:io\.|codecs\.|gzip\.|bz2\.|lzma\.)?open$/;

/** Where the sources load what a training saved, with the paths that are known. */
export function loadedPaths({ sources, value }: Pick<Program, 'sources' | 'value'>): Map<string, string> {
  const loaded = new Map<string, string>();
  for (const source of sources) {
    for (const call of source.calls) {
      const range = loadedFrom(source, call, value);
      const path = range && value(source, range);
      if (path && !loaded.has(path)) loaded.set(path, `${source.path}:${call.line}`);
    }
  }
  return loaded;
}

/** The path that a call reads; null: it reads none. */
function loadedFrom(source: Source, call: Call, value: Program['value']): Range | null {
  if (call.isDefinition) return null;
  if (OPENS.test(call.name)) return isForWriting(source, call, 1, value) ? null : argumentOf(call, 'file', 0);
  if (/\.open$/.test(call.name)) return isForWriting(source, call, 0, value) ? null : call.receiver;
  if (/\.read_(?:bytes|text)$/.test(call.name)) return call.receiver;
  return LOADS.test(call.name) ? argumentOf(call, '', 0) : null;
}

/**
 * The arguments with which the script continues from its checkpoint.
 * @param checkpoints what it saves: an argument that takes a path gets the only one.
 */
export function resumeArguments(program: Program, checkpoints: readonly string[]): Finding | null {
  for (const { source, argument } of program.arguments) {
    const { flag, isSwitch, line } = argument;
    if (!/^--(?:auto[-_])?resume(?:[-_](?:training|from(?:[-_](?:checkpoint|ckpt|snapshot))?))?$/.test(flag)) continue;
    const why = `${source.path}:${line} ${flag}`;
    if (isSwitch) return { value: flag.split('/')[0], why };
    const [only, ...others] = checkpoints;
    if (only !== undefined && others.length === 0 && !/[*?[\]{}]/.test(only)) return { value: `${flag}=${only}`, why };
  }
  for (const source of program.sources) {
    // nanoGPT and what is made like it: settings at the top, which its configurator takes from the command line.
    const mode = source.values.get('init_from');
    const isCompared = source.tokens.some(({ kind, text }) => kind === 'string' && text === 'resume');
    const takesSettings =
      source.tokens.some(({ kind, text }) => kind === 'string' && text === 'configurator.py') ||
      program.arguments.some(({ argument }) => argument.name === 'init_from');
    if (mode && isCompared && takesSettings)
      return { value: '--init_from=resume', why: `${source.path}:${source.tokens[mode[0].start].line} init_from` };
    const cli = source.calls.find(({ name }) => /(?:^|\.)LightningCLI$/.test(name));
    if (cli) return { value: '--ckpt_path=last', why: `${source.path}:${cli.line} LightningCLI` };
  }
  return null;
}
