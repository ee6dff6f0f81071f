import { formatDuration } from '../../report/units';
import { escapeHtml } from './escape-html';
import type { Point } from '../metrics/series';

const WIDTH = 640;
const HEIGHT = 220;
const LEFT = 70;
const BOTTOM = 26;
const TOP = 8;
const RIGHT = 8;
/** Lines between, about. */
const TICKS = 6;
/** Ten colors of lines: the classes c0 to c9 of the page. */
export const COLORS = 10;

export interface Line {
  label: string;
  /** Which color, a whole number. */
  color: number;
  /** What `at` of the points counts from, ms since the epoch. */
  start: number;
  points: readonly Point[];
}

/** A mark on the time axis. `at`: ms from its start. */
export interface Mark {
  at: number;
  label: string;
  kind: 'attempt' | 'checkpoint';
}

/**
 * A line chart over the time since the start as SVG, without styles or scripts of its own. A percentage, by the end of
 * its title, is shown from 0 to 100.
 */
export function lineChart(title: string, lines: readonly Line[], marks: readonly Mark[] = []): string {
  const all = lines.flatMap(({ points, start }) =>
    points.map(({ at, value }) => ({ x: sinceStart(at, start), y: value })),
  );
  const x = scale(extent([0, ...all.map(({ x }) => x)]), [LEFT, WIDTH - RIGHT]);
  const range = padded(extent([...(title.endsWith('%') ? [0, 100] : []), ...all.map(({ y }) => y)]));
  const y = scale(range, [HEIGHT - BOTTOM, TOP]);
  const parts = [
    ...ticks(range).map((value) => {
      const at = y(value);
      return `<path class="grid" d="M${LEFT} ${round(at)}H${WIDTH - RIGHT}"/><text class="left" x="${LEFT - 6}" y="${round(at + 4)}">${escapeHtml(shortNumber(value))}</text>`;
    }),
    ...timeTicks(x.domain[1]).map(
      (value) =>
        `<text class="below" x="${round(x(value))}" y="${HEIGHT - 8}">${escapeHtml(formatDuration(value))}</text>`,
    ),
    ...marks
      .filter(({ at }) => at >= 0 && at <= x.domain[1])
      .map(
        ({ at, label, kind }) =>
          `<path class="${kind}" d="M${round(x(at))} ${TOP}V${HEIGHT - BOTTOM}"><title>${escapeHtml(label)}</title></path>`,
      ),
    ...lines.map(({ label, color, start, points }) => {
      const shape = points.map(({ at, value }) => `${round(x(sinceStart(at, start)))} ${round(y(value))}`).join('L');
      // A line of one point is a dot.
      const [kind, more] = points.length === 1 ? ['line dot', 'h0.01'] : ['line', ''];
      return `<path class="${kind} c${color % COLORS}" d="M${shape}${more}"><title>${escapeHtml(label)}</title></path>`;
    }),
  ];
  return `<svg role="img" viewBox="0 0 ${WIDTH} ${HEIGHT}"><title>${escapeHtml(title)}</title>${parts.join('')}</svg>`;
}

/** What is measured before the training starts is shown at its start. */
function sinceStart(at: number, start: number): number {
  return Math.max(0, at - start);
}

type Range = [from: number, to: number];

function extent(values: readonly number[]): Range {
  let [from, to] = [Infinity, -Infinity];
  for (const value of values) {
    from = Math.min(from, value);
    to = Math.max(to, value);
  }
  return from <= to ? [from, to] : [0, 1];
}

/** A range that is not empty. */
function padded([from, to]: Range): Range {
  if (from < to) return [from, to];
  const by = Math.abs(from) / 2 || 1;
  return [from - by, to + by];
}

function scale([from, to]: Range, [start, end]: Range): ((value: number) => number) & { domain: Range } {
  const domain: Range = from < to ? [from, to] : [from, from + 1];
  const length = domain[1] / 2 - domain[0] / 2;
  // Halves: the difference of two numbers that are near the largest is none.
  const at = (value: number) => start + ((value / 2 - domain[0] / 2) / length) * (end - start);
  return Object.assign(at, { domain });
}

/** Round numbers within a range. */
export function ticks([from, to]: Range): number[] {
  const rough = (to / 2 - from / 2) / (TICKS / 2);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  if (!step || !Number.isFinite(step)) return [from, to];
  const first = Math.ceil(from / step);
  const count = Math.min(2 * TICKS + 2, Math.floor(to / step) - first + 1);
  return Array.from({ length: Math.max(0, count) }, (_, n) => (first + n) * step);
}

const STEPS_S = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14_400, 28_800, 86_400];

function timeTicks(to: number): number[] {
  const step = (STEPS_S.find((each) => to / 1000 / each <= TICKS + 2) ?? Math.ceil(to / 1000 / TICKS)) * 1000;
  return Array.from({ length: Math.min(2 * TICKS, Math.floor(to / step) + 1) }, (_, n) => n * step);
}

/** At most six significant digits. */
export function shortNumber(value: number): string {
  return String(Number(value.toPrecision(4)));
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
