import { posix } from 'node:path';
import { OUTPUT_DIRECTORY } from '../../../config/settings/outputs';
import type { Token } from './tokens';
import type { Range, Source } from './source-types';

/** Stands in a value for a text that is not known. */
export const UNKNOWN = '\0';
/** Stands for the checkpoint directory, which is saved anyway. */
export const CHECKPOINT_DIRECTORY = '\x01';

/** Variables that nx-ec2 sets to its output directory. */
const OUTPUT_VARIABLES = /^(?:NX_EC2_OUTPUT_DIR|SM_MODEL_DIR|SM_OUTPUT_DATA_DIR|SM_OUTPUT_DIR)$/;
const JOINS = /(?:^|\.)(?:path\.join|path\.resolve|joinpath|file\.path)$/;
const PATHS = /(?:^|\.)(?:Path|PurePath|PosixPath)$/;
const SAME = /(?:^|\.)(?:str|fspath|abspath|realpath|normpath|expanduser|normalizePath|String|to_absolute_path)$/;
const SAME_METHODS = new Set([
  'resolve',
  'absolute',
  'expanduser',
  'as_posix',
  'strip',
  'rstrip',
  '__str__',
  '__fspath__',
]);
const CURRENT = /(?:^|\.)(?:getcwd|cwd|get_original_cwd|getwd|pwd)$/;
/** The time as text: `now().strftime("outputs/%Y-%m-%d")`. */
const TIME = /(?:^|\.)strftime$/;
const ENVIRONMENT = /(?:^|\.)(?:environ\.get|getenv|Sys\.getenv|environ\.setdefault)$/;
const MAX_NESTING = 12;
const MAX_PATH_LENGTH = 400;
/** A longer text is no path, nor a part of one; what is replaced in a text takes time that grows faster than the text. */
const MAX_TEXT_LENGTH = 2_000;

/** Gives the value of a name, by its last part; null if it is not known or has several. */
export type LookUp = (name: string, nesting: number) => string | null;

/**
 * The text that an expression stands for, as far as the source says it: literals, joined paths, names that are given one
 * value. `UNKNOWN` stands in it for the rest; null: nothing of it is known.
 */
export function pathValue(source: Source, range: Range, lookUp: LookUp, nesting = 0): string | null {
  if (nesting > MAX_NESTING) return null;
  const reader = new Reader(source, range, lookUp, nesting);
  const value = reader.either();
  return value !== null && reader.isAtEnd && value.length <= MAX_PATH_LENGTH ? value : null;
}

class Reader {
  private at: number;
  private readonly tokens: Token[];

  constructor(
    private readonly source: Source,
    private readonly range: Range,
    private readonly lookUp: LookUp,
    private readonly nesting: number,
  ) {
    this.at = range.start;
    this.tokens = source.tokens;
  }

  get isAtEnd(): boolean {
    return this.at >= this.range.end;
  }

  /** `a or b`: the first that is known. */
  either(): string | null {
    let value = this.sum();
    while (this.takeWord('or') || this.take('|', '|') || this.take('?', '?')) {
      const other = this.sum();
      value ??= other;
    }
    return value;
  }

  /** `a + b`, `a / b`, `"…" % b`. */
  private sum(): string | null {
    let value = this.postfix();
    while (!this.isAtEnd) {
      if (this.take('+')) value = concat(value, this.postfix());
      else if (this.take('/')) value = join(value, this.postfix());
      else if (this.take('%')) {
        this.postfix();
        value =
          value === null
            ? null
            : shortened(value)
                .replace(/%(?:\(\w+\))?[-+ #0]*[\d.*]*[a-zA-Z]/g, UNKNOWN)
                .replace(/%%/g, '%');
      } else break;
    }
    return value;
  }

  private postfix(): string | null {
    let value = this.primary();
    while (!this.isAtEnd) {
      const name =
        is(this.tokens[this.at], '.') && this.tokens[this.at + 1]?.kind === 'name'
          ? this.tokens[this.at + 1].text
          : null;
      if (name !== null && is(this.tokens[this.at + 2], '(')) {
        this.at += 2;
        value = applyMethod(name, value, this.list());
      } else if (name !== null) {
        this.at += 2;
        value = name === 'parent' && value !== null ? parentOf(value) : null;
      } else if (is(this.tokens[this.at], '[') || is(this.tokens[this.at], '(')) {
        this.list();
        value = null;
      } else break;
    }
    return value;
  }

  private primary(): string | null {
    const token = this.tokens[this.at];
    if (this.isAtEnd || !token) return null;
    if (token.kind === 'string') return this.strings();
    if (is(token, '(')) {
      const [only, ...more] = this.list();
      return more.length === 0 ? (only ?? null) : null;
    }
    this.at += 1;
    if (token.kind === 'number') return token.text;
    return token.kind === 'name' ? this.named(token.text) : null;
  }

  /** Strings that stand beside each other are one. */
  private strings(): string {
    let text = '';
    for (; !this.isAtEnd && this.tokens[this.at].kind === 'string'; this.at += 1) {
      const { isTemplate, text: own } = this.tokens[this.at];
      text += isTemplate && own.length <= MAX_TEXT_LENGTH ? this.filled(own) : own;
    }
    return shortened(text);
  }

  /** `{name}` in a template is its value, any other expression is not known. */
  private filled(text: string): string {
    if (this.source.language === 'python') {
      return text.replace(/\{\{|\}\}|\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}/g, (whole, expression: string | undefined) => {
        if (expression === undefined) return whole[0];
        const name = /^\s*(?:[\w.]+\.)?([A-Za-z_]\w*)\s*$/.exec(expression)?.[1];
        return (name && this.lookUp(name, this.nesting + 1)) ?? UNKNOWN;
      });
    }
    return text.replace(/\$\{([^}]*)\}|\$\(([^)]*)\)|\$([A-Za-z_]\w*)/g, (_, ...names: (string | undefined)[]) => {
      const name = names.slice(0, 3).find((each) => each !== undefined);
      return (name && /^\w+$/.test(name) && this.lookUp(name, this.nesting + 1)) || UNKNOWN;
    });
  }

  /** A name, or a call of a function. */
  private named(first: string): string | null {
    const names = [first];
    while (is(this.tokens[this.at], '.') && this.tokens[this.at + 1]?.kind === 'name' && this.at + 1 < this.range.end) {
      // A method of a value, or an attribute of a path.
      if (names.length === 1 && this.isValue(first, this.at + 1)) break;
      names.push(this.tokens[this.at + 1].text);
      this.at += 2;
    }
    const name = names.join('.');
    if (!this.isAtEnd && is(this.tokens[this.at], '(')) return this.called(name);
    if (!this.isAtEnd && is(this.tokens[this.at], '[')) {
      const [key] = this.list();
      if (/(?:^|\.)(?:environ|ENV|env)$/.test(name)) return ofVariable(key);
      return key ? this.lookUp(key, this.nesting + 1) : null;
    }
    if (name === '__file__' || name === '__FILE__') return this.source.path;
    return this.lookUp(names[names.length - 1], this.nesting + 1);
  }

  /** Whether a name is one whose method, or whose `parent`, follows: `name.joinpath(…)`, and not `os.path`. */
  private isValue(name: string, next: number): boolean {
    const method = this.tokens[next].text;
    const isMethod = is(this.tokens[next + 1], '(') && (SAME_METHODS.has(method) || METHODS.has(method));
    return (isMethod || method === 'parent') && (name === '__file__' || this.lookUp(name, this.nesting + 1) !== null);
  }

  private called(name: string): string | null {
    const args = this.list();
    const [first = null] = args;
    if (args.length === 0) return CURRENT.test(name) || PATHS.test(name) ? '.' : null;
    if (JOINS.test(name)) return args.reduce((joined, part) => join(joined, part));
    if (PATHS.test(name)) return args.reduce((joined, part) => join(joined, part));
    if (SAME.test(name)) return first;
    if (/(?:^|\.)dirname$/.test(name)) return first === null ? null : parentOf(first);
    if (TIME.test(name)) return timeOf(first);
    if (/^paste0$/.test(name)) return args.reduce((joined, part) => concat(joined, part));
    if (ENVIRONMENT.test(name)) return ofVariable(first) ?? args[1] ?? null;
    // `field(default="out")` of a dataclass or of pydantic.
    if (/(?:^|\.)(?:field|Field|Argument|Option)$/.test(name))
      return this.keyword('default') ?? (/field$/i.test(name) ? null : first);
    return null;
  }

  /** The value of a keyword in the list that ends before the present token. */
  private keyword(name: string): string | null {
    let at = this.at - 2;
    for (let depth = 0; at > this.range.start; at -= 1) {
      if (is(this.tokens[at], ')')) depth += 1;
      else if (is(this.tokens[at], '(') && --depth < 0) return null;
      else if (depth === 0 && this.tokens[at].text === name && is(this.tokens[at + 1], '=')) {
        let end = at + 2;
        while (end < this.at - 1 && !is(this.tokens[end], ',')) end += 1;
        return pathValue(this.source, { start: at + 2, end }, this.lookUp, this.nesting + 1);
      }
    }
    return null;
  }

  /** The values of a list in brackets, which begins here. */
  private list(): (string | null)[] {
    let depth = 0;
    let start = this.at + 1;
    const values: (string | null)[] = [];
    for (; !this.isAtEnd; this.at += 1) {
      const token = this.tokens[this.at];
      if (token.kind !== 'operator') continue;
      if ('([{'.includes(token.text)) depth += 1;
      const isClosing = ')]}'.includes(token.text);
      if (isClosing) depth -= 1;
      if ((depth === 1 && token.text === ',') || depth === 0) {
        const end = this.at;
        if (end > start) values.push(pathValue(this.source, { start, end }, this.lookUp, this.nesting + 1));
        start = this.at + 1;
      }
      if (depth === 0) {
        this.at += 1;
        break;
      }
    }
    return values;
  }

  private take(...operators: string[]): boolean {
    if (
      !operators.every(
        (operator, offset) => this.at + offset < this.range.end && is(this.tokens[this.at + offset], operator),
      )
    )
      return false;
    this.at += operators.length;
    return true;
  }

  private takeWord(word: string): boolean {
    if (this.isAtEnd || this.tokens[this.at].kind !== 'name' || this.tokens[this.at].text !== word) return false;
    this.at += 1;
    return true;
  }
}

const METHODS = new Set(['joinpath', 'format', 'with_name', 'with_suffix']);

function applyMethod(name: string, value: string | null, args: (string | null)[]): string | null {
  if (name === 'strftime') return timeOf(args[0] ?? null);
  if (value === null) return null;
  if (SAME_METHODS.has(name)) return value;
  if (name === 'joinpath') return args.reduce(join, value);
  if (name === 'format') return value.replace(/\{[^{}]*\}/g, UNKNOWN);
  if (name === 'with_name') return join(parentOf(value), args[0] ?? null);
  if (name === 'with_suffix') return args[0] == null ? null : value.replace(/\.[^./]*$/, '') + args[0];
  return null;
}

/** The value that nx-ec2 gives to a variable. */
function ofVariable(name: string | null): string | null {
  if (name === 'NX_EC2_CHECKPOINT_DIR') return CHECKPOINT_DIRECTORY;
  return name !== null && OUTPUT_VARIABLES.test(name) ? OUTPUT_DIRECTORY : null;
}

function timeOf(format: string | null): string | null {
  return format === null ? null : format.replace(/%[-_0^#]?[A-Za-z]/g, UNKNOWN);
}

function shortened(text: string): string {
  return text.length <= MAX_TEXT_LENGTH ? text : UNKNOWN;
}

function concat(a: string | null, b: string | null): string | null {
  return a === null && b === null ? null : (a ?? UNKNOWN) + (b ?? UNKNOWN);
}

function join(directory: string | null, name: string | null): string | null {
  if (name !== null && posix.isAbsolute(name)) return name;
  return directory === null ? null : posix.join(directory || '.', name ?? UNKNOWN);
}

/** The directory of a path that is relative to the project. */
function parentOf(path: string): string {
  const plain = posix.normalize(path).replace(/(.)\/$/, '$1');
  if (plain === '.') return '..';
  return /(?:^|\/)\.\.$/.test(plain) ? `${plain}/..` : posix.dirname(plain);
}

function is(token: Token | undefined, text: string): boolean {
  return token?.kind === 'operator' && token.text === text;
}
