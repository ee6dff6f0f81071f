import { SingleBar } from 'cli-progress';
import { formatDuration, formatSize } from './units';
import { LiveBlock } from './live-block';
import { drained, hasFailed, surviveErrors } from './output-stream';
import { PastNx, writeToTerminal } from './past-nx';
import { sanitizeForTerminal, printableJson, sanitize, sanitizeLines, TerminalText } from './terminal-text';
import { nxRun } from './shell-words';

export interface PrinterOptions {
  verbose?: boolean;
  /** One machine-readable line on stdout at the end; everything for people goes to stderr. */
  json?: boolean;
  /** The project that the commands in messages name in place of `<project>`; absent: none is known. */
  project?: string;
  /** Never draw in place, even on a terminal: what a cached target prints is replayed on each hit. */
  plain?: boolean;
  stdout?: NodeJS.WriteStream;
  stderr?: NodeJS.WriteStream;
  /** ms since the epoch. */
  now?: () => number;
}

export interface Progress {
  /** Bytes done so far. */
  update(done: number): void;
  /** Ends it; nothing more is drawn. */
  end(): void;
}

/** A plain progress line is due every so many ms, or every 10 %. */
const PLAIN_INTERVAL_MS = 5_000;
/** A longer time left is not known: what was done so far says nothing of it. */
const MAX_LEFT_MS = 10 * 24 * 3600 * 1000;
/** No progress is drawn for what ends sooner than this, ms. */
const PROGRESS_DELAY_MS = 1_000;

/** A line longer than this is printed in pieces, characters. */
const MAX_HELD_LENGTH = 16_384;

const RESET = '\x1b[0m';
/** What `strong` and `warn` put around a text: noncharacters, which become colors when all else was made safe to print. */
const MARKS = new Map([
  ['\ufdd0', '\x1b[1m'],
  ['\ufdd1', '\x1b[33m'],
  ['\ufdd2', RESET],
]);

/**
 * What the user sees. Everything printed by an executor goes through one of these, and is made safe to print here, whoever
 * wrote it: colors are its own, but for those of a log.
 */
export class Printer {
  private wasSilenced = false;
  private readonly out: NodeJS.WriteStream;
  private readonly stdout: NodeJS.WriteStream;
  private readonly text = new TerminalText();
  private logEndedLine = true;
  /** The log's last line as far as it has come, where it is not yet printed. */
  private held = '';
  private readonly now: () => number;
  /** The progress that is drawn in place. */
  private bar: SingleBar | undefined;
  /** The lines that are drawn in place. */
  private block: LiveBlock | undefined;
  private isAnswered = false;
  /** After a signal, where Nx reads what this process prints and may show nothing of it. */
  private pastNx: PastNx | undefined;

  constructor(private readonly options: PrinterOptions = {}) {
    this.stdout = options.stdout ?? process.stdout;
    this.out = options.json ? (options.stderr ?? process.stderr) : this.stdout;
    this.now = options.now ?? Date.now;
    for (const stream of [this.stdout, this.out]) surviveErrors(stream);
  }

  /** Waits until all that was printed is with its readers, and after a signal in Nx's output. */
  async flush(): Promise<void> {
    await Promise.all([this.stdout, this.out].map(drained));
    await this.pastNx?.settle();
  }

  /** Stops all printing, for good: after a signal the terminal is no longer ours. */
  silence(): void {
    this.eraseBar();
    this.wasSilenced = true;
  }

  private get silenced(): boolean {
    return this.wasSilenced || hasFailed(this.stdout) || hasFailed(this.out);
  }

  line(text: string): void {
    this.endLogLine();
    this.write(this.out, `${this.safe(this.nameProject(text))}\n`);
  }

  /** A text whose commands (`nx run <project>:remote-up`) name the project. Who writes such a text often does not know it. */
  nameProject(text: string): string {
    const { project } = this.options;
    if (project === undefined) return text;
    return text.replaceAll(/nx run <project>:(remote-[a-z]+(?:-[a-z]+)*)/g, (_, target: string) =>
      nxRun(project, target),
    );
  }

  /**
   * Whether Nx runs this process in a pseudo-terminal of its own, as it does in its default output style. At the first
   * Ctrl+C Nx ends there, so a second one does not arrive.
   */
  get isPseudoTerminal(): boolean {
    return this.stdout.isTTY === true;
  }

  /**
   * Prints the answer to a signal. After a Ctrl+C Nx passes on nothing that comes to it by a pipe, as it does with
   * `--outputStyle=stream` and where its output goes to a file. No progress is shown after it.
   */
  answer(signal: NodeJS.Signals | undefined, text: string): void {
    this.isAnswered = true;
    const isPiped = !this.out.isTTY && this.stdout === process.stdout && !this.silenced;
    if (isPiped) this.pastNx ??= new PastNx(signal === 'SIGINT');
    const lines = `\n${this.safe(this.nameProject(text))}\n`;
    const reachedTerminal = this.pastNx?.write(lines, this.options.json ? 2 : 1);
    if (isPiped && signal === 'SIGINT' && !reachedTerminal) writeToTerminal(lines);
    this.line(`\n${text}`);
  }

  /** Whether lines can be drawn in place: on a terminal that a person looks at. */
  get drawsInPlace(): boolean {
    const isCi = !['', '0', 'false'].includes(process.env.CI ?? '');
    return !this.options.plain && this.out.isTTY && !this.silenced && !isCi && process.env.TERM !== 'dumb';
  }

  /** Draws lines in place of those that this drew before, if nothing was printed since. Only where `drawsInPlace`. */
  drawLines(text: string): void {
    if (this.silenced || this.isAnswered) return;
    this.endLogLine();
    this.block ??= new LiveBlock(this.out);
    this.block.draw(sanitizeLines(this.nameProject(text), Infinity).split('\n'));
  }

  /** Erases what `drawLines` has drawn. */
  eraseLines(): void {
    if (!this.silenced && !this.isAnswered) this.block?.erase();
  }

  /** Only with --verbose. */
  detail(text: string): void {
    if (this.options.verbose) this.line(text);
  }

  warn(text: string): void {
    this.line(`${this.paint('\ufdd1', 'warning:')} ${text}`);
  }

  /** A piece of a remote log, cut anywhere: printed as it comes, made fit for a terminal. */
  log(data: Buffer): void {
    let text = this.held + this.text.write(data);
    this.held = '';
    if (!this.out.isTTY) {
      // Nx puts the project's name before each piece that it gets: half a line waits for its other half.
      const whole = Math.max(text.lastIndexOf('\n'), text.lastIndexOf('\r')) + 1;
      if (text.length - whole < MAX_HELD_LENGTH) {
        this.held = text.slice(whole);
        text = text.slice(0, whole);
      }
    }
    if (!text) return;
    this.write(this.out, text);
    this.logEndedLine = text.endsWith('\n');
  }

  /** Prints what is held back of the log's last line: nothing more comes. */
  endLog(): void {
    this.held += this.text.end();
    this.endLogLine();
  }

  /** The one machine-readable line of `--json`. */
  result(value: object): void {
    if (!this.options.json) return;
    const line = `${printableJson(value)}\n`;
    if (!this.silenced) this.pastNx?.write(line, 1);
    this.write(this.stdout, line);
  }

  strong(text: string): string {
    return this.paint('\ufdd0', text);
  }

  /**
   * Progress of `total` bytes. On a terminal one line in place with a bar, rate and time left; elsewhere, and for
   * cached targets, a plain line every few seconds. What is done within a second draws nothing.
   * @param format how an amount is said, where it is not bytes.
   */
  progress(label: string, total: number, format: (amount: number) => string = formatSize): Progress {
    const started = this.now();
    const inPlace = !this.options.plain && this.out.isTTY && !this.silenced;
    let bar: SingleBar | undefined;
    let lastLine = started;
    let lastTenth = 0;
    const rate = (done: number) => {
      const seconds = (this.now() - started) / 1000;
      return seconds > 0 ? done / seconds : 0;
    };
    return {
      update: (done) => {
        if (this.silenced || this.isAnswered || this.now() - started < PROGRESS_DELAY_MS) return;
        const perSecond = rate(done);
        const at = Math.min(done, total);
        const left = perSecond > 0 ? ((total - at) / perSecond) * 1000 : Infinity;
        const shown = {
          size: `${format(done)} of ${format(total)}`,
          rate: format(perSecond),
          left: left > MAX_LEFT_MS ? 'unknown time' : formatDuration(left),
        };
        if (inPlace) {
          if (bar && bar === this.bar) bar.update(at, shown);
          else bar = this.drawBar(label, total, at, shown);
          return;
        }
        const tenth = Math.floor((at / Math.max(1, total)) * 10);
        if (this.now() - lastLine < PLAIN_INTERVAL_MS && tenth <= lastTenth) return;
        lastLine = this.now();
        lastTenth = tenth;
        this.line(`${label}: ${shown.size} (${tenth * 10} %), ${shown.rate}/s, ${shown.left} left`);
      },
      end: () => {
        if (bar && bar === this.bar) this.eraseBar();
        bar = undefined;
      },
    };
  }

  private drawBar(label: string, total: number, at: number, shown: object): SingleBar {
    this.eraseBar();
    this.bar = new SingleBar({
      format: `${sanitizeForTerminal(label)} {bar} {percentage}% {size}, {rate}/s, {left} left`,
      stream: this.out,
      clearOnComplete: true,
      barsize: 24,
      hideCursor: false,
    });
    this.bar.start(Math.max(1, total), at, shown);
    return this.bar;
  }

  /** Erases the progress and has the terminal wrap lines again; the next update draws it again. */
  private eraseBar(): void {
    this.bar?.stop();
    this.bar = undefined;
  }

  private endLogLine(): void {
    if (this.held) {
      this.write(this.out, this.held);
      this.held = '';
      this.logEndedLine = false;
    }
    if (!this.logEndedLine) this.write(this.out, '\n');
    this.logEndedLine = true;
  }

  /** Lines that are safe to print, with the colors that `paint` has marked. */
  private safe(text: string): string {
    return this.colors() ? text.split(/\r?\n/).map(colored).join('\n') : sanitizeLines(text, Infinity);
  }

  private paint(mark: string, text: string): string {
    return this.colors() ? `${mark}${text}\ufdd2` : text;
  }

  private colors(): boolean {
    // NO_COLOR wins over the FORCE_COLOR that Nx always sets (https://no-color.org).
    if (process.env.NO_COLOR) return false;
    const forced = process.env.FORCE_COLOR;
    return forced !== undefined ? forced !== '0' && forced !== 'false' : this.out.isTTY;
  }

  private write(stream: NodeJS.WriteStream, text: string): void {
    if (this.silenced) return;
    this.eraseBar();
    this.block?.release();
    try {
      stream.write(text);
    } catch {
      this.silence();
    }
  }
}

/** Safe to print, but for our own colors: a mark that somebody else wrote is at worst a color, until the line ends. */
function colored(line: string): string {
  const marks = line.match(/[\ufdd0-\ufdd2]/g);
  if (!marks) return sanitize(line, Infinity);
  const filter = new TerminalText(true, MARKS);
  const text = filter.write(Buffer.from(line)) + filter.end();
  return marks.at(-1) === '\ufdd2' ? text : text + RESET;
}
