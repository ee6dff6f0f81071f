import { StringDecoder } from 'node:string_decoder';

const ESC = '\x1b';
const BREAK = '\u200b';
const SECTION = 'section_start'.length;
/** A color sequence longer than this is noise. */
const MAX_SEQUENCE = 64;
/** What changes the direction of the text around it: names could look like others. */
const BIDI = /^[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]$/;
/** What is not seen, but for the joiners that scripts and emoji need; line ends of Unicode; noncharacters. */
const INVISIBLE =
  // eslint-disable-next-line no-misleading-character-class
  /^[\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufdd0-\ufdef\ufeff\uffa0\ufff9-\ufffb\u{e0000}-\u{e0fff}]$/u;
/** A longer text is cut, characters. */
const MAX_TEXT_LENGTH = 16_384;

type State = 'text' | 'escape' | 'csi' | 'string' | 'string-escape' | 'charset';

/**
 * Makes a remote log fit to print: text, colors (SGR), CR, LF and tab pass; every other control sequence is
 * dropped, so that a log line can't move the cursor, set a title, or answer a terminal query. What a CI service
 * would read as a command (`::name::` at the start of a line; `##[…]`, `##vso[…]`, `##teamcity[…]`, `section_start:…`
 * anywhere) is broken by a zero-width space. Fed in pieces cut anywhere, it gives the same text as fed at once.
 */
export class TerminalText {
  private readonly decoder = new StringDecoder('utf8');
  private state: State = 'text';
  private sequence = '';
  /** Only blanks, colors and at most one colon since the last line end. */
  private atLineStart = true;
  private colon = false;
  private hashes = 0;
  /** The end of the text so far, as long as what is looked for in it. */
  private tail = '';
  private returned = false;

  /**
   * @param strict no colors, nothing that is not seen, and line ends that become visible.
   * @param marks characters that stand for something else, which passes.
   */
  constructor(
    private readonly strict = false,
    private readonly marks: ReadonlyMap<string, string> = new Map(),
  ) {}

  write(data: Buffer): string {
    return this.filter(this.decoder.write(data));
  }

  end(): string {
    return this.filter(this.decoder.end());
  }

  private filter(text: string): string {
    let out = '';
    for (const char of text) out += this.take(char);
    return out;
  }

  private take(char: string): string {
    const mark = this.marks.get(char);
    if (mark !== undefined) {
      // A sequence that somebody has left open ends here.
      this.state = 'text';
      return mark;
    }
    switch (this.state) {
      case 'text':
        return this.takeText(char);
      case 'escape':
        this.state =
          char === '['
            ? 'csi'
            : char === ']' || char === 'P' || char === '^' || char === '_' || char === 'X'
              ? 'string'
              : char >= ' ' && char <= '/'
                ? 'charset'
                : 'text';
        this.sequence = '';
        return this.state === 'text' && (char === '\n' || char === '\r') ? this.takeText(char) : '';
      case 'charset':
        if (!(char >= ' ' && char <= '/')) this.state = 'text';
        return char === '\n' || char === '\r' ? this.takeText(char) : '';
      case 'csi':
        return this.takeCsi(char);
      case 'string':
        if (char === '\x07' || char === '\x9c') this.state = 'text';
        else if (char === ESC) this.state = 'string-escape';
        else if (char === '\n') {
          // A title never spans lines: an unfinished one must not swallow the log.
          this.state = 'text';
          return this.takeText(char);
        }
        return '';
      case 'string-escape':
        this.state = char === '\\' ? 'text' : 'string';
        return '';
    }
  }

  private takeCsi(char: string): string {
    if (char >= '@' && char <= '~') {
      const sequence = this.sequence;
      this.state = 'text';
      return char === 'm' && !this.strict && /^[\d;:]*$/.test(sequence) ? `${ESC}[${sequence}m` : '';
    }
    if (char === '\n' || char === '\r') {
      this.state = 'text';
      return this.takeText(char);
    }
    this.sequence += char;
    if (this.sequence.length > MAX_SEQUENCE) this.state = 'text';
    return '';
  }

  private takeText(char: string): string {
    if (char === ESC) {
      this.state = 'escape';
      return '';
    }
    if (char === '\x9b') {
      this.state = 'csi';
      this.sequence = '';
      return '';
    }
    if (char === '\x90' || char === '\x9d' || char === '\x9e' || char === '\x9f' || char === '\x98') {
      this.state = 'string';
      return '';
    }
    const returned = this.returned;
    this.returned = char === '\r';
    if (char === '\n' || char === '\r') {
      this.atLineStart = !this.strict;
      this.colon = false;
      this.hashes = 0;
      this.tail = '';
      return !this.strict ? char : char === '\n' && returned ? '' : '\\n';
    }
    if ((char < ' ' && char !== '\t') || (char >= '\x7f' && char <= '\x9f')) return '';
    // What counts as a line end for some reader of a CI log must not hide a command either.
    if (char === '\u2028' || char === '\u2029' || char === '\u0085') return '';
    if ((this.strict ? INVISIBLE : BIDI).test(char)) return '';

    let out = char;
    if (this.atLineStart) {
      if (char === ':') {
        if (this.colon) {
          out = BREAK + char;
          this.atLineStart = false;
        }
        this.colon = true;
      } else if (this.colon || !/\s/.test(char)) {
        this.atLineStart = false;
      }
    }
    if (this.hashes >= 2 && (char === '[' || char === 'v' || char === 't')) out = BREAK + out;
    this.hashes = char === '#' ? this.hashes + 1 : 0;
    if (char === ':' && /section_(start|end)$/.test(this.tail)) out = BREAK + out;
    this.tail = (this.tail + char).slice(-SECTION);
    return out;
  }
}

/**
 * Makes a text safe to print inside a line, whoever wrote it: no control characters, no escape sequences, nothing that
 * is not seen or that changes the direction, no commands of CI services; line ends become visible. Made safe twice, it
 * is the same.
 * @param limit characters: what is longer is cut.
 */
export function sanitize(text: string, limit: number): string {
  const cut = text.length > limit ? `${text.slice(0, limit - 1)}…` : text;
  if (isPlain(cut)) return cut;
  const filter = new TerminalText(true);
  return filter.write(Buffer.from(cut)) + filter.end();
}

/** The same, cut where it is longer than any text of ours. */
export function sanitizeForTerminal(text: string): string {
  return sanitize(text, MAX_TEXT_LENGTH);
}

/** What is not seen in a name, or looks like another character. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}/gu;

/**
 * Makes the path of a file safe to print inside a line: characters that are not seen become escapes, so that no file is
 * taken for another (`.e<U+200B>nv` for `.env`).
 */
export function printablePath(path: string): string {
  const seen = path.replace(UNSEEN, (char) => (char === '\n' ? '\\n' : `\\u{${char.codePointAt(0)!.toString(16)}}`));
  return sanitizeForTerminal(seen);
}

/** The same for a text of several lines: they stay lines. */
export function sanitizeLines(text: string, limit: number): string {
  const cut = text.length > limit ? `${text.slice(0, limit - 1)}…` : text;
  return cut
    .split(/\r?\n/)
    .map((line) => sanitize(line, Infinity))
    .join('\n');
}

export function printableLines(text: string): string {
  return sanitizeLines(text, MAX_TEXT_LENGTH);
}

/** Whether there is nothing to look for in it. */
function isPlain(text: string): boolean {
  return /^[ -~]*$/.test(text) && !/^\s*:/.test(text) && !text.includes('##') && !text.includes('section_');
}

/** No value of ours is nested deeper. */
const MAX_DEPTH = 64;

/**
 * The same for each text of a value that was JSON, its names too. Values that are nested deeper than any of ours become
 * an ellipsis: whoever walks through the result has stack enough.
 * @param lines names of texts that keep their lines.
 */
export function printableValue(value: unknown, lines: ReadonlySet<string> = new Set(), name = '', depth = 0): unknown {
  if (typeof value === 'string') return lines.has(name) ? sanitizeLines(value, Infinity) : sanitize(value, Infinity);
  if (typeof value !== 'object' || value === null) return value;
  if (depth === MAX_DEPTH) return '…';
  if (Array.isArray(value)) return value.map((each) => printableValue(each, lines, name, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [sanitizeForTerminal(key), printableValue(each, lines, key, depth + 1)]),
  );
}

/** JSON on one line, that no terminal and no CI service reads as more than text; it parses to the same value. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value).replace(/[^ -~]|(?<=#)#/gu, (char) =>
    char < '\xa0' || INVISIBLE.test(char) ? escaped(char) : char,
  );
}

function escaped(char: string): string {
  return [...Array(char.length).keys()].map((at) => `\\u${char.charCodeAt(at).toString(16).padStart(4, '0')}`).join('');
}
