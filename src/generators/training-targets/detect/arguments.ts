import { pathValue } from './path-value';
import type { Call, Range, Source } from './source-types';

/** An argument of a script, as argparse, click or absl declares it. */
export interface ScriptArgument {
  /** `--out-dir`; without dashes: a positional one. */
  flag: string;
  /** The name of its value: `out_dir`. */
  name: string;
  line: number;
  /** Whether it takes no value. */
  isSwitch: boolean;
  isRequired: boolean;
  default: Range | null;
}

/** The arguments that a source declares. */
export function scriptArguments(source: Source): ScriptArgument[] {
  return source.calls.flatMap((call) => {
    if (call.isDefinition) return [];
    if (/\.add_argument$/.test(call.name)) return declared(source, call, isArgparse) ?? [];
    if (/^(?:click|.*\bclick)\.(?:option|argument)$/.test(call.name)) return declared(source, call, isClick) ?? [];
    if (/(?:^|\.)DEFINE_(?:string|integer|float|bool|boolean|enum)$/.test(call.name)) return ofAbsl(source, call) ?? [];
    return [];
  });
}

interface Kind {
  required(of: {
    isPositional: boolean;
    has: (keyword: string) => boolean;
    text: (keyword: string) => string | null;
  }): boolean;
}

const isArgparse: Kind = {
  required: ({ isPositional, has, text }) =>
    isPositional ? !has('default') && !['?', '*'].includes(text('nargs') ?? '') : text('required') === 'True',
};
const isClick: Kind = {
  required: ({ isPositional, has, text }) =>
    isPositional ? !has('default') && text('required') !== 'False' : text('required') === 'True' && !has('default'),
};

function declared(source: Source, call: Call, { required }: Kind): ScriptArgument | null {
  const range = (keyword: string) => call.args.find((each) => each.keyword === keyword)?.value;
  const has = (keyword: string) => range(keyword) !== undefined;
  const text = (keyword: string) => {
    const found = range(keyword);
    return found ? (literal(source, found) ?? source.tokens[found.start].text) : null;
  };
  const names = call.args.filter(({ keyword }) => keyword === null).map(({ value }) => literal(source, value) ?? '');
  const flag = names.find((each) => each.startsWith('--')) ?? names.find(Boolean);
  if (!flag) return null;
  const isPositional = !flag.startsWith('-');
  const name = text('dest') ?? flag.replace(/^-+/, '').split('/')[0].replace(/-/g, '_');
  const isSwitch =
    /^store_|BooleanOptionalAction/.test(text('action') ?? '') || text('is_flag') === 'True' || flag.includes('/');
  const isRequired = required({ isPositional, has, text });
  return { flag, name, line: call.line, isSwitch, isRequired, default: range('default') ?? null };
}

function ofAbsl(source: Source, call: Call): ScriptArgument | null {
  const [name, value] = call.args.map((each) => each.value);
  const text = name && literal(source, name);
  if (!text) return null;
  return {
    flag: `--${text}`,
    name: text,
    line: call.line,
    isSwitch: /bool/.test(call.name),
    isRequired: false,
    default: value ?? null,
  };
}

/** The value of an expression that is a literal. */
export function literal(source: Source, range: Range): string | null {
  return pathValue(source, range, () => null);
}
