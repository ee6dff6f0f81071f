import { StringDecoder } from 'node:string_decoder';

const ESC = '\x1b';
const BREAK = '\u200b';
/** A colour sequence longer than this is noise. */
const MAX_SEQUENCE = 64;

type State = 'text' | 'escape' | 'csi' | 'string' | 'string-escape' | 'charset';

/**
 * Makes a remote log fit to print: text, colours (SGR), CR, LF and tab pass; every other control sequence is
 * dropped, so that a log line can't move the cursor, set a title, or answer a terminal query. What a CI service
 * would read as a command (`::name::` at the start of a line, `##[…]`, `##vso[…]`, `##teamcity[…]` anywhere) is
 * broken by a zero-width space. Fed in pieces cut anywhere, it gives the same text as fed at once.
 */
export class TerminalText {
  private readonly decoder = new StringDecoder('utf8');
  private state: State = 'text';
  private sequence = '';
  /** Only blanks, colours and at most one colon since the last line end. */
  private atLineStart = true;
  private colon = false;
  private hashes = 0;

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
        return '';
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
      return char === 'm' && /^[\d;:]*$/.test(sequence) ? `${ESC}[${sequence}m` : '';
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
    if (char === '\n' || char === '\r') {
      this.atLineStart = true;
      this.colon = false;
      this.hashes = 0;
      return char;
    }
    if ((char < ' ' && char !== '\t') || (char >= '\x7f' && char <= '\x9f')) return '';
    // What counts as a line end for some reader of a CI log must not hide a command either.
    if (char === '\u2028' || char === '\u2029' || char === '\u0085') return '';

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
    return out;
  }
}

/** The same for a text at hand: a name, an error message from an instance. Line ends become visible. */
export function printable(text: string): string {
  const filter = new TerminalText();
  return (filter.write(Buffer.from(text)) + filter.end()).replace(/\r?\n|\r/g, '\\n');
}
