/** A model of a terminal's screen, with the control sequences of a line that is drawn in place. */
export class Screen {
  private readonly rows: string[][] = [[]];
  private row = 0;
  private column = 0;
  private saved = [0, 0];
  private wraps = true;

  constructor(private readonly width: number) {}

  /** The rows, without spaces at their ends. */
  get text(): string[] {
    return this.rows.map((cells) =>
      Array.from(cells, (cell) => cell ?? ' ')
        .join('')
        .trimEnd(),
    );
  }

  write(text: string): void {
    for (const [, private_, parameter, final, escape, character] of text.matchAll(
      /\x1b\[(\?)?(\d*)([A-Za-z])|\x1b([78])|([^])/g,
    )) {
      if (final) this.control(`${private_ ?? ''}${parameter}${final}`);
      else if (escape === '7') this.saved = [this.row, this.column];
      else if (escape === '8') [this.row, this.column] = this.saved;
      else this.put(character);
    }
  }

  private control(sequence: string): void {
    if (sequence === '1G') this.column = 0;
    else if (sequence === '0K') this.rows[this.row].length = Math.min(this.rows[this.row].length, this.column);
    else if (sequence === '0J') {
      this.rows.length = this.row + 1;
      this.rows[this.row].length = Math.min(this.rows[this.row].length, this.column);
    } else if (/^\d+A$/.test(sequence)) this.row = Math.max(0, this.row - parseInt(sequence));
    else if (sequence === '2K') this.rows[this.row] = [];
    else if (sequence === '?7l') this.wraps = false;
    else if (sequence === '?7h') this.wraps = true;
    else if (!/m$/.test(sequence)) throw new Error(`a control sequence that the screen does not know: ${sequence}`);
  }

  private put(character: string): void {
    if (character === '\r') this.column = 0;
    else if (character === '\n') this.startRow();
    else {
      if (this.column === this.width) {
        if (this.wraps) this.startRow();
        else this.column -= 1;
      }
      this.rows[this.row][this.column++] = character;
    }
  }

  private startRow(): void {
    this.column = 0;
    this.row += 1;
    this.rows[this.row] ??= [];
  }
}
