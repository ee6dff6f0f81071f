import { StringDecoder } from 'node:string_decoder';
import { TerminalText } from '../../report/terminal-text';

/** A longer line is printed in pieces, characters. */
const MAX_LINE_LENGTH = 16_384;
const RESET = '\x1b[0m';

/**
 * The log of one node, in pieces cut anywhere, as lines that each begin with `[node <rank>] `, whatever the training
 * wrote: a line takes neither the color nor the place of another node's. Of a progress bar, what it shows last is a line.
 */
export class NodeLines {
  private readonly decoder = new StringDecoder('utf8');
  private held = '';

  constructor(
    private readonly rank: number,
    private readonly print: (line: string) => void,
  ) {}

  add(data: Buffer): void {
    this.take(this.decoder.write(data));
  }

  /** Prints what is held back of the last line: nothing more comes. */
  end(): void {
    this.take(this.decoder.end());
    if (this.held) this.take('\n');
  }

  private take(text: string): void {
    const lines = (this.held + text).split('\n');
    this.held = lastShown(lines.pop()!, true);
    for (const line of lines) this.printLine(this.cut(lastShown(line, false)));
    this.held = this.cut(this.held);
  }

  /** Prints what is too long for one line but its end. */
  private cut(line: string): string {
    let at = 0;
    for (; line.length - at > MAX_LINE_LENGTH; at += MAX_LINE_LENGTH)
      this.printLine(line.slice(at, at + MAX_LINE_LENGTH));
    return line.slice(at);
  }

  private printLine(line: string): void {
    const filter = new TerminalText();
    const text = filter.write(Buffer.from(line)) + filter.end();
    this.print(`[node ${this.rank}] ${text}${text.includes('\x1b') ? RESET : ''}\n`);
  }
}

/** What a terminal shows of a line with carriage returns. @param open more of the line may come. */
function lastShown(line: string, open: boolean): string {
  const end = line.endsWith('\r') ? line.length - 1 : line.length;
  const from = line.lastIndexOf('\r', end - 1) + 1;
  return line.slice(from, open ? undefined : end);
}
