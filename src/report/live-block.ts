/**
 * Lines at the end of a terminal's output that are drawn again in their place. Each drawing is one write, and leaves no
 * mode of the terminal changed: whatever is printed next, also by another process, comes below the lines.
 */
export class LiveBlock {
  /** The lengths of the lines that were drawn. */
  private drawn: number[] = [];

  constructor(private readonly stream: NodeJS.WriteStream) {}

  /** Draws lines where the ones before are. Lines that are too long are cut, and lines that do not fit are left out. */
  draw(lines: readonly string[]): void {
    const { columns, most } = this.size();
    const left = lines.length - most + 1;
    const fitting = lines.length > most ? [...lines.slice(0, most - 1), `… ${left} more lines`] : lines;
    const cut = fitting.map((line) => line.slice(0, columns));
    // Without wrapping, each line is one row, also where a character is wider than the terminal's table says.
    const text = cut.map((line) => `${line}\x1b[0K\n`).join('');
    this.stream.write(`\x1b[?7l${this.toBegin(columns, most)}${text}\x1b[0J\x1b[?7h`);
    this.drawn = cut.map((line) => line.length);
  }

  /** Erases the lines. */
  erase(): void {
    const { columns, most } = this.size();
    if (this.drawn.length) this.stream.write(`${this.toBegin(columns, most)}\x1b[0J`);
    this.release();
  }

  /** Leaves the lines where they are: the next ones are drawn below them. */
  release(): void {
    this.drawn = [];
  }

  /** `most`: how many lines fit. A terminal without a size has 0 columns and rows. */
  private size(): { columns: number; most: number } {
    return { columns: this.stream.columns || 80, most: Math.max(1, (this.stream.rows || 24) - 1) };
  }

  /** Moves the cursor to the first line. A terminal that became narrower may have wrapped the lines since. */
  private toBegin(columns: number, most: number): string {
    const above = this.drawn.reduce((sum, length) => sum + Math.max(1, Math.ceil(length / columns)), 0);
    return above ? `\x1b[${Math.min(above, most)}A\r` : '';
  }
}
