import { posix } from 'node:path';
import { UNKNOWN } from './path-value';
import { argumentOf, type Program } from './program';
import type { Call, Range, Source } from './source-types';

export interface Write {
  /** A path with `UNKNOWN` for what is not known. */
  path: string;
  kind: 'file' | 'directory';
  why: string;
  /** Whether it holds a model, or the state of a training. */
  isModel: boolean;
}

interface Rule {
  /** Of the name of a call. */
  name: RegExp;
  keyword?: string;
  /** Of the path among the arguments; `receiver`: what the method is called on. */
  path: number | 'receiver' | 'keyword';
  /** `auto`: a directory if the name has no extension. */
  kind?: 'file' | 'directory' | 'auto';
  isModel?: boolean;
  /** The position of a mode, which must be one for writing. */
  mode?: number;
  extension?: string;
}

/** Calls that write a file or a directory; the first rule that fits decides. */
const RULES: Rule[] = [
  { name: /^(?:torch(?:\.jit)?|torch_xla.*|fabric)\.save$/, keyword: 'f', path: 1, isModel: true },
  { name: /^accelerator\.save$/, keyword: 'f', path: 1, isModel: true },
  { name: /^onnx\.save(?:_model)?$/, keyword: 'f', path: 1, isModel: true },
  { name: /^torch\.onnx\.export$/, keyword: 'f', path: 2, isModel: true },
  { name: /(?:^|\.)(?:save_file|save_safetensors)$/, keyword: 'filename', path: 1, isModel: true },
  { name: /(?:^|\.)saved_model\.save$/, keyword: 'export_dir', path: 1, kind: 'directory', isModel: true },
  { name: /(?:^|\.)(?:joblib|cloudpickle)\.dump$/, keyword: 'filename', path: 1, isModel: true },
  { name: /^(?:numpy|jax\.numpy)\.save$/, keyword: 'file', path: 0, extension: '.npy' },
  { name: /^numpy\.savez(?:_compressed)?$/, keyword: 'file', path: 0, extension: '.npz' },
  { name: /^numpy\.savetxt$/, keyword: 'fname', path: 0 },
  { name: /(?:^|\.)savefig$/, keyword: 'fname', path: 0 },
  { name: /\.(?:save_pretrained|save_state)$/, keyword: 'save_directory', path: 0, kind: 'directory', isModel: true },
  {
    name: /\.(?:save_model|save_weights|save_checkpoint|save|export)$/,
    keyword: 'filepath',
    path: 0,
    kind: 'auto',
    isModel: true,
  },
  {
    name: /\.(?:to_csv|to_parquet|to_json|to_pickle|to_excel|to_feather|to_hdf|write_csv|write_parquet|write_image|write_html)$/,
    path: 0,
  },
  { name: /\.(?:write_text|write_bytes)$/, path: 'receiver' },
  { name: /^(?:io\.|codecs\.|gzip\.|bz2\.|lzma\.)?open$/, keyword: 'file', path: 0, mode: 1 },
  { name: /\.open$/, path: 'receiver', mode: 0 },
  { name: /^h5py\.File$/, keyword: 'name', path: 0, mode: 1 },
  {
    name: /^logging\.(?:handlers\.\w+)?FileHandler$|^logging\.handlers\.\w*FileHandler$/,
    keyword: 'filename',
    path: 0,
  },
  { name: /^logging\.basicConfig$/, keyword: 'filename', path: 'keyword' },
  { name: /^sqlite3\.connect$/, keyword: 'database', path: 0 },
];

/** Functions of R, Julia and Node.js. */
const OTHER_RULES: Rule[] = [
  {
    name: /^(?:saveRDS|write_rds|save_model_hdf5|save_model_tf|torch_save|xgb\.save)$/,
    keyword: 'file',
    path: 1,
    isModel: true,
  },
  { name: /^(?:write\.csv2?|write\.table|write_csv|fwrite|writeLines|write_json)$/, keyword: 'file', path: 1 },
  { name: /^save$/, keyword: 'file', path: 'keyword' },
  { name: /^(?:ggsave|png|jpeg|svg|pdf|save\.image)$/, keyword: 'filename', path: 0 },
  {
    name: /^(?:jldsave|serialize|JLD2\.save|BSON\.bson|savefig|CSV\.write|FileIO\.save|JLD2\.jldsave|Serialization\.serialize)$/,
    path: 0,
  },
  { name: /^open$/, path: 0, mode: 1 },
  { name: /(?:^|\.)(?:writeFileSync|writeFile|appendFileSync|appendFile|createWriteStream)$/, path: 0 },
  { name: /\.save$/, path: 0, kind: 'auto', isModel: true },
];

/** Calls that give a file its final name; the source is the first argument, or what the method is called on. */
const RENAMES = /^(?:os\.(?:replace|renames?)|shutil\.move|file\.rename|(?:fs\.)?(?:promises\.)?rename(?:Sync)?|mv)$/;
const RENAME_METHODS = /\.(?:replace|rename)$/;

/** The name of a file that holds a model or the state of a training, whatever writes it. */
const MODEL_FILE =
  /\.(?:pt|pth|ckpt|safetensors|keras|h5|hdf5|msgpack|onnx)$|(?:^|[-_./])(?:model|weights|state|checkpoint|ckpt|snapshot)[^/]*\.(?:json|pkl|pickle|joblib|npz|bin|tar|rds)$/i;

/** What the sources write, where the path is told by them: under the name that a file gets in the end. */
export function writes(program: Pick<Program, 'sources' | 'value'>): Write[] {
  const written = writtenFiles(program);
  const paths = new Set(written.map(({ path }) => path));
  const renamed = renames(program);
  const destinations = new Map(renamed.map(({ from, to }) => [from, to.path]));
  // A temporary file has no name that the source tells, but the call that puts it in place has.
  const placed = renamed.filter(({ from, isReplace }) => isReplace && (from === null || !paths.has(from)));
  return [...written, ...placed.map(({ to }) => to)].map((each) => {
    const path = destinations.get(each.path) ?? each.path;
    return { ...each, path, isModel: each.isModel || (each.kind === 'file' && MODEL_FILE.test(path)) };
  });
}

interface Rename {
  /** null: not known. */
  from: string | null;
  to: Write;
  /** Whether it is `os.replace`, which programs use to put a finished file in its place. */
  isReplace: boolean;
}

function renames({ sources, value }: Pick<Program, 'sources' | 'value'>): Rename[] {
  return sources.flatMap((source) =>
    source.calls.flatMap((call) => {
      const isFunction = RENAMES.test(call.name);
      // `text.replace(old, new)` has two.
      const isMethod = RENAME_METHODS.test(call.name) && call.args.length === 1;
      if (call.isDefinition || !(isFunction || isMethod)) return [];
      const ranges = isFunction
        ? [argumentOf(call, 'src', 0), argumentOf(call, 'dst', 1)]
        : [call.receiver, argumentOf(call, 'target', 0)];
      const [from, path] = ranges.map((range) => range && value(source, range));
      if (path == null || !isPath(path)) return [];
      const to: Write = { path, kind: 'file', why: whyOf(source, call), isModel: false };
      return [{ from, to, isReplace: call.name === 'os.replace' && !path.includes(UNKNOWN) }];
    }),
  );
}

function writtenFiles({ sources, value }: Pick<Program, 'sources' | 'value'>): Write[] {
  return sources.flatMap((source) => {
    const rules = source.language === 'python' ? RULES : OTHER_RULES;
    return source.calls.flatMap((call) => {
      const rule = call.isDefinition ? undefined : rules.find(({ name }) => name.test(call.name));
      const range = rule && pathOf(call, rule);
      if (!rule || !range || (rule.mode !== undefined && !isForWriting(source, call, rule.mode, value))) return [];
      const path = value(source, range);
      if (path === null || !isPath(path)) return [];
      const full = rule.extension && posix.extname(path) === '' ? path + rule.extension : path;
      const kind = rule.kind === 'auto' ? (posix.extname(full) ? 'file' : 'directory') : (rule.kind ?? 'file');
      return [{ path: full, kind, why: whyOf(source, call), isModel: rule.isModel ?? false }];
    });
  });
}

/** Where a call is, and which: `train.py:41 torch.save`. */
export function whyOf({ path }: Source, { line, name }: Pick<Call, 'line' | 'name'>): string {
  return `${path}:${line} ${name.replace(/^\./, '').split('.').slice(-2).join('.')}`;
}

function pathOf(call: Call, { keyword, path }: Rule): Range | null {
  if (path === 'receiver') return call.receiver;
  return argumentOf(call, keyword ?? '', path === 'keyword' ? Infinity : path);
}

/** Whether a call of `open` is one for writing. @param position that of the mode among its arguments. */
export function isForWriting(source: Source, call: Call, position: number, value: Program['value']): boolean {
  const range = argumentOf(call, 'mode', position);
  const mode = range && value(source, range);
  return mode !== null && /^[rwaxbt+U]{1,4}$/.test(mode) && /[wax+]/.test(mode);
}

function isPath(text: string): boolean {
  return text.length > 0 && text.length < 300 && !/[\n\r\t]/.test(text);
}
