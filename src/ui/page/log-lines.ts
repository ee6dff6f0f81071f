import Anser from 'anser';

/** A part of a line with one look. */
export interface Part {
  text: string;
  /** Classes of the page. */
  classes: string;
  /** `r, g, b` of a color that no class names. */
  color: string | null;
}

/** The lines of a text. Of what a progress bar has drawn over itself, the last state. */
export function linesOf(text: string): string[] {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines.map(lastState);
}

/** What a terminal shows at the end of a line with carriage returns, but for what a shorter text leaves of a longer one. */
function lastState(line: string): string {
  if (!line.includes('\r')) return line;
  const states = line.split('\r').filter((each) => withoutColors(each).trim() !== '');
  return states.at(-1) ?? '';
}

export function withoutColors(line: string): string {
  return line.replace(/\x1b\[[\d;:]*m/g, '');
}

/** A line by its colors. */
export function partsOf(line: string): Part[] {
  if (!line.includes('\x1b')) return [{ text: line, classes: '', color: null }];
  return Anser.ansiToJson(line, { use_classes: true, remove_empty: true }).map(
    ({ content, fg, bg, fg_truecolor, decorations }) => {
      const classes = [
        ...(fg && /^ansi-(bright-)?[a-z]+$/.test(fg) && fg !== 'ansi-truecolor' ? [fg] : []),
        ...(bg && /^ansi-(bright-)?[a-z]+$/.test(bg) && bg !== 'ansi-truecolor' ? [`${bg}-bg`] : []),
        ...decorations.map((each) => `ansi-${each}`),
      ];
      return { text: content, classes: classes.join(' '), color: colorOf(fg, fg_truecolor) };
    },
  );
}

function colorOf(name: string | null, truecolor: string | null): string | null {
  if (name === 'ansi-truecolor') return /^\d{1,3}, ?\d{1,3}, ?\d{1,3}$/.test(truecolor ?? '') ? truecolor : null;
  const palette = /^ansi-palette-(\d{1,3})$/.exec(name ?? '');
  return palette ? paletteColor(Number(palette[1])) : null;
}

/** A color of the 256 of xterm, from the 17th on. */
function paletteColor(n: number): string | null {
  if (n < 16 || n > 255) return null;
  if (n >= 232) return [0, 0, 0].map(() => 8 + (n - 232) * 10).join(', ');
  const level = (of: number) => (of === 0 ? 0 : 55 + of * 40);
  const at = n - 16;
  return [Math.floor(at / 36), Math.floor(at / 6) % 6, at % 6].map(level).join(', ');
}
