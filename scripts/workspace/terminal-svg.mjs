import headless from '@xterm/headless';

const CELL = { width: 8.4, height: 18 };
const PADDING = 16;
const BACKGROUND = '#0d1117';
const FOREGROUND = '#c9d1d9';
/** The sixteen colors of a terminal. */
const PALETTE = [
  ...['#484f58', '#ff7b72', '#3fb950', '#d29922', '#58a6ff', '#bc8cff', '#39c5cf', '#b1bac4'],
  ...['#6e7681', '#ffa198', '#56d364', '#e3b341', '#79c0ff', '#d2a8ff', '#56d4dd', '#ffffff'],
];

const escape = (text) => text.replace(/[&<>]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[sign]);

/** How a cell looks, as attributes of SVG. */
function attributes(cell) {
  const [foreground, background] = [
    cell.isFgPalette() ? cell.getFgColor() : null,
    cell.isBgPalette() ? cell.getBgColor() : null,
  ];
  // What is shown in reverse, or on a colored background, has the color of that background: SVG's text has none.
  const color = background ?? foreground;
  return [
    color === null ? '' : ` fill="${PALETTE[color & 15]}"`,
    cell.isBold() ? ' font-weight="bold"' : '',
    cell.isDim() ? ' opacity="0.65"' : '',
  ].join('');
}

/** The lines of the screen, each as the content of a text element. */
function screen(terminal) {
  const { viewportY } = terminal.buffer.active;
  return Array.from({ length: terminal.rows }, (_, row) => {
    const line = terminal.buffer.active.getLine(viewportY + row);
    const spans = [];
    for (let column = 0; column < terminal.cols; column++) {
      const cell = line?.getCell(column);
      if (!cell || cell.getWidth() === 0) continue;
      const look = attributes(cell);
      const last = spans.at(-1);
      if (last?.look === look) last.text += cell.getChars() || ' ';
      else spans.push({ look, text: cell.getChars() || ' ' });
    }
    while (spans.length && !spans.at(-1).text.trim()) spans.pop();
    if (spans.length) spans.at(-1).text = spans.at(-1).text.trimEnd();
    return spans.map(({ look, text }) => (look ? `<tspan${look}>${escape(text)}</tspan>` : escape(text))).join('');
  });
}

/**
 * An SVG that plays a recording once and keeps its last screen. Without animations it shows the last screen.
 * `events`: what was written, `{ ms, bytes }`, in the order of time.
 */
export async function terminalSvg(events, { columns, rows, title }) {
  const terminal = new headless.Terminal({ cols: columns, rows, allowProposedApi: true, convertEol: false });
  /** Of each row: what it shows, from when to when, s. */
  const shown = Array.from({ length: rows }, () => [{ content: '', from: 0 }]);
  for (const { ms, bytes } of events) {
    await new Promise((resolve) => terminal.write(bytes, resolve));
    const from = ms / 1000;
    screen(terminal).forEach((content, row) => {
      const last = shown[row].at(-1);
      if (last.content === content) return;
      last.to = from;
      shown[row].push({ content, from });
    });
  }
  const [width, height] = [columns * CELL.width + 2 * PADDING, rows * CELL.height + 2 * PADDING];
  const seconds = (value) => `${value.toFixed(2)}s`;
  const line = ({ content, from, to }, row) => {
    const [x, y] = [PADDING, PADDING + row * CELL.height + 13];
    // A line of the last screen is hidden until it comes; any other is shown from its time to its end.
    const set =
      to === undefined
        ? from > 0 && `<set attributeName="visibility" to="hidden" begin="0s" end="${seconds(from)}"/>`
        : `<set attributeName="visibility" to="visible" begin="${seconds(from)}" end="${seconds(to)}"/>`;
    const hidden = to === undefined ? '' : ' visibility="hidden"';
    return `<text x="${x}" y="${y}"${hidden}>${set || ''}${content}</text>`;
  };
  const lines = shown.flatMap((states, row) =>
    states.filter(({ content, from, to }) => content && to !== from).map((state) => line(state, row)),
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escape(title)}">`,
    `<title>${escape(title)}</title>`,
    `<rect width="100%" height="100%" rx="8" fill="${BACKGROUND}"/>`,
    `<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14" fill="${FOREGROUND}" xml:space="preserve">`,
    ...lines,
    '</g>',
    '</svg>',
    '',
  ].join('\n');
}
