import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';

/** Lines of the output that are told where a server fails. */
const LAST_LINES = 15;
const MAX_LINE_BYTES = 2_000;

/** The last lines that a server has printed, safe to print and without its token. */
export class OutputTail {
  private readonly lines: string[] = [];
  private begun = '';

  constructor(
    private readonly onLine: (line: string) => void,
    private readonly token?: string,
  ) {}

  add(data: Buffer): void {
    const lines = (this.begun + data.toString('latin1')).split('\n');
    this.begun = lines.pop()!.slice(-MAX_LINE_BYTES);
    for (const line of lines) this.take(line);
  }

  /** The error of a server that did not start, or ended. */
  failed(what: string): Problem {
    this.take(this.begun);
    this.begun = '';
    const next = this.lines.length ? `It printed last:\n${this.lines.join('\n')}` : undefined;
    return new Problem('TOOL_FAILED', what, { next });
  }

  private take(bytes: string): void {
    const text = Buffer.from(bytes.slice(0, MAX_LINE_BYTES), 'latin1').toString();
    const line = sanitizeForTerminal(this.token ? text.trim().replaceAll(this.token, '***') : text.trim());
    if (!line) return;
    this.lines.push(line);
    if (this.lines.length > LAST_LINES) this.lines.shift();
    this.onLine(line);
  }
}
