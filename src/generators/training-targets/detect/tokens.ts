/** The languages whose sources are looked at. */
export type Language = 'python' | 'r' | 'julia' | 'javascript';

export interface Token {
  kind: 'name' | 'string' | 'number' | 'operator' | 'newline';
  /** A string's value; else as it is written. */
  text: string;
  /** A string: whether `{…}` in it stands for values (`f"…"`), or `${…}`, `$x`. */
  isTemplate: boolean;
  line: number;
  /** Whether it is the first one of its line and not indented. */
  isFlush: boolean;
}

interface Rules {
  comment: RegExp;
  name: RegExp;
  /** The quotation marks of strings, the longest first. */
  quotes: readonly string[];
  /** Quotation marks of strings that may span lines. */
  multiline: ReadonlySet<string>;
}

const NAME = /[\p{ID_Start}_$][\p{ID_Continue}$]*/uy;
const RULES: Record<Language, Rules> = {
  python: {
    comment: /#[^\r\n]*/y,
    name: NAME,
    quotes: ['"""', "'''", '"', "'"],
    multiline: new Set(['"""', "'''"]),
  },
  r: {
    comment: /#[^\r\n]*/y,
    name: /[\p{ID_Start}._][\p{ID_Continue}.]*/uy,
    quotes: ['"', "'"],
    multiline: new Set(['"', "'"]),
  },
  julia: {
    comment: /#=[^]*?(?:=#|$(?![^]))|#[^\r\n]*/y,
    name: NAME,
    quotes: ['"""', '"'],
    multiline: new Set(['"""', '"']),
  },
  javascript: {
    comment: /\/\/[^\r\n]*|\/\*[^]*?(?:\*\/|$(?![^]))/y,
    name: NAME,
    quotes: ['"', "'", '`'],
    multiline: new Set(['`']),
  },
};
const BLANK = /(?:[ \t\f\v\u00a0\ufeff]|\\(?:\r\n|\r|\n))+/y;
const NEWLINE = /\r\n|\r|\n/y;
const NUMBER = /(?:\d|\.\d)(?:[eE][+-]?\d|[\w.])*/y;
const OPERATOR = /\*\*=?|\/\/=?|->|<<-|<-|:=|[-+*/%&|^=!<>@]=|[^]/uy;
/** A string within a value of an f-string is not longer. */
const MAX_NESTED_LENGTH = 200;
const PREFIX = /[bfrtu]{1,2}(?=["'])/iy;
const REST_OF_LINE = /[^\r\n]*/y;
const LINE_ENDS = /\r\n|\r|\n/g;

/**
 * Splits a source file into tokens; comments and blanks are left out. Takes any text: a character that begins no token is
 * an operator, and a string that is not closed is left out up to the end of its line.
 */
export function tokenize(text: string, language: Language): Token[] {
  const rules = RULES[language];
  const tokens: Token[] = [];
  let at = 0;
  let line = 1;
  let lineStart = 0;
  const match = (expression: RegExp) => {
    expression.lastIndex = at;
    return expression.exec(text)?.[0];
  };
  const advance = (length: number) => {
    for (const found of text.slice(at, at + length).matchAll(LINE_ENDS)) {
      line += 1;
      lineStart = at + found.index + found[0].length;
    }
    at += length;
  };
  while (at < text.length) {
    const skipped = match(BLANK) ?? match(rules.comment);
    if (skipped) {
      advance(skipped.length);
      continue;
    }
    const rest = { isTemplate: false, line, isFlush: at === lineStart };
    const lineEnd = match(NEWLINE);
    if (lineEnd) {
      tokens.push({ kind: 'newline', text: '\n', ...rest });
      advance(lineEnd.length);
      continue;
    }
    const prefix = language === 'python' ? (match(PREFIX) ?? '') : '';
    const quote = rules.quotes.find((each) => text.startsWith(each, at + prefix.length));
    if (quote) {
      const end = stringEnd(text, at + prefix.length + quote.length, quote, {
        multiline: rules.multiline.has(quote),
        braces: /[ft]/i.test(prefix),
      });
      if (end === null) {
        advance(match(REST_OF_LINE)!.length);
        continue;
      }
      const body = text.slice(at + prefix.length + quote.length, end - quote.length);
      const isTemplate = language === 'python' ? /[ft]/i.test(prefix) : quote === '`' || language === 'julia';
      // Python reads every line end as \n.
      const plain = body.replace(/\r\n?/g, '\n');
      const value = /r/i.test(prefix) ? plain : unescape(plain, /b/i.test(prefix));
      tokens.push({ kind: 'string', text: value, ...rest, isTemplate });
      advance(end - at);
      continue;
    }
    const number = match(NUMBER);
    const name = number === undefined ? match(rules.name) : undefined;
    const found = number ?? name ?? match(OPERATOR)!;
    const kind = number !== undefined ? 'number' : name !== undefined ? 'name' : 'operator';
    tokens.push({ kind, text: found, ...rest });
    advance(found.length);
  }
  return tokens;
}

/** The index after a string's closing quotation mark; null if it is not closed. */
function stringEnd(
  text: string,
  from: number,
  quote: string,
  { multiline, braces }: { multiline: boolean; braces: boolean },
): number | null {
  let depth = 0;
  for (let at = from; at < text.length; at += 1) {
    const char = text[at];
    if (char === '\\') {
      // An escaped line end of Windows is two characters.
      at += text.startsWith('\r\n', at + 1) ? 2 : 1;
    } else if (depth === 0 && text.startsWith(quote, at)) {
      return at + quote.length;
    } else if (!multiline && (char === '\n' || char === '\r')) {
      return null;
    } else if (braces && char === '{') {
      if (depth === 0 && text[at + 1] === '{') at += 1;
      else depth += 1;
    } else if (braces && char === '}' && depth > 0) {
      depth -= 1;
    } else if (depth > 0 && text.startsWith(quote, at)) {
      // Since Python 3.12 a value in an f-string may have the quotation marks of the string itself.
      const ahead = text.slice(at + quote.length, at + quote.length + MAX_NESTED_LENGTH);
      const nested = ahead.indexOf(quote);
      const end = ahead.indexOf('}');
      if (nested < 0 || end < 0 || nested > end) return at + quote.length;
      at += nested + 2 * quote.length - 1;
    }
  }
  return null;
}

const ESCAPE = /\\([0-7]{1,3}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[^])/gu;
const SIMPLE: Record<string, string> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
  "'": "'",
  '"': '"',
  '`': '`',
  '\n': '',
};

function unescape(body: string, isBytes: boolean): string {
  return body.replace(ESCAPE, (whole, code: string) => {
    if (code in SIMPLE) return SIMPLE[code];
    if (/^[0-7]/.test(code)) return String.fromCharCode(parseInt(code, 8));
    if (isBytes && /^u/i.test(code)) return whole;
    if (!/^[xuU]./.test(code)) return whole;
    const point = parseInt(code.slice(1), 16);
    return point <= 0x10ffff ? String.fromCodePoint(point) : whole;
  });
}

export const MAX_CHAIN = 100;

export const MAX_TOKENS = 2_000;

export function is(token: Token | undefined, text: string): boolean {
  return token?.kind === 'operator' && token.text === text;
}

/** Whether a statement ends with a token. */
export function isEnd(token: Token): boolean {
  return token.kind === 'newline' || is(token, ';');
}
