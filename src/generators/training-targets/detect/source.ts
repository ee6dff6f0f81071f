import { posix } from 'node:path';
import { tokenize, type Language, type Token, MAX_CHAIN, MAX_TOKENS, is, isEnd } from './tokens';
import { dotted, importsOf, aliasesOf } from './source-imports';
import type { Argument, Range, Source } from './source-types';

const EXTENSIONS: Record<string, Language> = {
  '.py': 'python',
  '.r': 'r',
  '.jl': 'julia',
  '.js': 'javascript',
  '.mjs': 'javascript',
  '.cjs': 'javascript',
  '.ts': 'javascript',
  '.mts': 'javascript',
};
const OPENING: Record<string, string> = { '(': ')', '[': ']', '{': '}' };
const CLOSING: Record<string, string> = { ')': '(', ']': '[', '}': '{' };
/** Words before a parenthesis that call nothing. */
const NO_CALL = new Set(
  'if elif while for in and or not return yield lambda print assert del await is else with except'.split(' '),
);
/** A line that begins with one of these is never inside a bracket: one before it was not closed. */
const STATEMENT = new Set(['def', 'class', 'import', '@']);
const ASSIGNS = new Set(['=', '<-', ':=']);
/** Bounds that keep the time linear, whatever the text: of brackets in brackets, and of the tokens of an expression. */
const MAX_DEPTH = 200;
const MAX_ENTRY = 60;

export function languageOf(path: string): Language | null {
  return EXTENSIONS[posix.extname(path).toLowerCase()] ?? null;
}

export function readSource(path: string, text: string): Source {
  const language = languageOf(path) ?? 'python';
  const { tokens, partner } = pairBrackets(tokenize(text, language), language);
  const imports = language === 'python' ? importsOf(tokens) : [];
  const aliases = language === 'python' ? aliasesOf(tokens) : new Map<string, string>();
  const source: Source = { path, language, tokens, imports, calls: [], values: new Map() };
  tokens.forEach((token, at) => {
    if (token.text === '(' && token.kind === 'operator') addCall(source, partner, aliases, at);
    if (at === 0 || isEnd(tokens[at - 1])) addAssignment(source, partner, at);
    if (token.kind === 'string' && is(tokens[at + 1], ':'))
      addValue(source, token.text, entryOf(tokens, partner, at + 2));
  });
  return source;
}

/**
 * Removes the line ends inside brackets, but not those in a block of other languages; `partner` has the index of the
 * other bracket of each that has one.
 */
function pairBrackets(all: Token[], language: Language): { tokens: Token[]; partner: Map<number, number> } {
  const tokens: Token[] = [];
  const partner = new Map<number, number>();
  let open: number[] = [];
  for (const token of all) {
    if (token.isFlush && STATEMENT.has(token.text) && token.kind !== 'string') {
      if (open.length > 0) tokens.push({ ...token, kind: 'newline', text: '\n' });
      open = [];
    }
    const isBlock = language !== 'python' && open.length > 0 && tokens[open[open.length - 1]].text === '{';
    if (token.kind === 'newline' && open.length > 0 && !isBlock) continue;
    if (token.kind === 'operator' && token.text in OPENING && open.length < MAX_DEPTH) open.push(tokens.length);
    if (token.kind === 'operator' && token.text in CLOSING) {
      const depth = open.findLastIndex((at) => tokens[at].text === CLOSING[token.text]);
      if (depth >= 0) {
        partner.set(open[depth], tokens.length);
        partner.set(tokens.length, open[depth]);
        open.length = depth;
      }
    }
    tokens.push(token);
    if (is(token, '{') && language !== 'python') tokens.push({ ...token, kind: 'newline', text: '\n' });
  }
  return { tokens, partner };
}

/** Where the names begin whose last one is at a token, with the calls and subscripts between them. */
function chainStart(tokens: Token[], partner: Map<number, number>, last: number): number {
  let start = last;
  for (let at = last, steps = 0; at >= 0 && steps < MAX_CHAIN; steps += 1) {
    const token = tokens[at];
    if (token.kind === 'name' || token.kind === 'string' || token.kind === 'number') {
      start = at;
      if (!is(tokens[at - 1], '.')) break;
      at -= 2;
    } else if (token.kind === 'operator' && token.text in CLOSING && partner.has(at)) {
      start = partner.get(at)!;
      const before = tokens[start - 1];
      const isCalled =
        before &&
        (before.kind === 'name' ? !NO_CALL.has(before.text) : before.kind === 'operator' && before.text in CLOSING);
      if (!isCalled) break;
      at = start - 1;
    } else break;
  }
  return start;
}

function addCall(
  { tokens, calls, values }: Source,
  partner: Map<number, number>,
  aliases: Map<string, string>,
  open: number,
): void {
  const last = tokens[open - 1];
  const end = partner.get(open);
  if (end === undefined || last?.kind !== 'name' || NO_CALL.has(last.text)) return;
  const start = chainStart(tokens, partner, open - 1);
  const names = dotted(tokens, start);
  const isPlain = start + 2 * names.length - 2 === open - 1;
  const [first, ...rest] = names;
  const name = isPlain ? [aliases.get(first) ?? first, ...rest].join('.') : `.${last.text}`;
  const isDefinition = ['def', 'class', 'function'].includes(tokens[start - 1]?.text);
  const args = argumentsOf(tokens, partner, open, end);
  calls.push({
    name,
    line: last.line,
    args,
    receiver: start < open - 1 ? { start, end: open - 2 } : null,
    isDefinition,
  });
  if (isDefinition) for (const { keyword, value } of args) if (keyword !== null) pushTo(values, keyword, value);
}

/** The arguments between two brackets; parameters with a type (`a: str = "b"`) are taken for keywords as well. */
function argumentsOf(tokens: Token[], partner: Map<number, number>, open: number, end: number): Argument[] {
  const args: Argument[] = [];
  for (let start = open + 1; start < end;) {
    // In Julia, a semicolon is before the keywords.
    const comma = skipTo(tokens, partner, start, end, [',', ';']);
    const equals = tokens[start]?.kind === 'name' ? skipTo(tokens, partner, start, comma, ['=']) : comma;
    const isKeyword = equals < comma && (equals === start + 1 || is(tokens[start + 1], ':'));
    if (comma > start)
      args.push({
        keyword: isKeyword ? tokens[start].text : null,
        value: { start: isKeyword ? equals + 1 : start, end: comma },
      });
    start = comma + 1;
  }
  return args;
}

/** The first of some operators from a token on, outside brackets; `end` if there is none. */
function skipTo(
  tokens: Token[],
  partner: Map<number, number>,
  start: number,
  end: number,
  operators: string[],
): number {
  let at = start;
  while (at < end && !operators.some((operator) => is(tokens[at], operator))) at = closeOf(tokens, partner, at) + 1;
  return Math.min(at, end);
}

/** `name = value`, `self.name: str = value`, `name <- value`. */
function addAssignment(source: Source, partner: Map<number, number>, start: number): void {
  const { tokens, language } = source;
  let at = start;
  if (language === 'javascript' && ['const', 'let', 'var', 'export'].includes(tokens[at]?.text)) {
    while (['const', 'let', 'var', 'export'].includes(tokens[at]?.text)) at += 1;
  } else if (language === 'julia' && tokens[at]?.text === 'const') at += 1;
  const names = dotted(tokens, at);
  if (names.length === 0) return;
  at += 2 * names.length - 1;
  const end = lineEnd(tokens, partner, at);
  if (is(tokens[at], ':')) at = skipTo(tokens, partner, at, end, ['=']);
  const operator = tokens[at];
  if (at >= end || operator?.kind !== 'operator' || !ASSIGNS.has(operator.text)) return;
  addValue(source, names[names.length - 1], { start: at + 1, end });
}

function lineEnd(tokens: Token[], partner: Map<number, number>, start: number): number {
  return expressionEnd(tokens, partner, start, () => false);
}

/** The value of an entry of a dict. */
function entryOf(tokens: Token[], partner: Map<number, number>, start: number): Range {
  const isLast = (token: Token) => is(token, ',') || (token.kind === 'operator' && token.text in CLOSING);
  return { start, end: expressionEnd(tokens, partner, start, isLast, MAX_ENTRY) };
}

/** The index of the first token outside brackets that ends a statement or of which `isLast` is true. */
function expressionEnd(
  tokens: Token[],
  partner: Map<number, number>,
  start: number,
  isLast: (token: Token) => boolean,
  most = MAX_TOKENS,
): number {
  let at = start;
  for (let steps = 0; at < tokens.length && steps < most && !isEnd(tokens[at]) && !isLast(tokens[at]); steps += 1)
    at = closeOf(tokens, partner, at) + 1;
  return Math.min(at, tokens.length);
}

/** The index of the bracket that closes the one at a token; that of the token itself if it opens none. */
function closeOf(tokens: Token[], partner: Map<number, number>, at: number): number {
  const isOpening = tokens[at].kind === 'operator' && tokens[at].text in OPENING;
  return Math.max(at, (isOpening && partner.get(at)) || at);
}

function addValue({ values, tokens }: Source, name: string, range: Range): void {
  if (range.end > range.start && range.start < tokens.length) pushTo(values, name, range);
}

function pushTo(values: Map<string, Range[]>, name: string, range: Range): void {
  const before = values.get(name);
  if (before) before.push(range);
  else values.set(name, [range]);
}
