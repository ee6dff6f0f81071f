import { useEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import type { Mark } from '../api';
import { formatDuration, formatNumber } from './format';

const HEIGHT = 220;
/** The colors --c0 to --c9 of page.css. */
const COLORS = 10;

export interface Line {
  label: string;
  /** Which color, a whole number. */
  color: number;
  /** ms since the epoch, from which the time is counted. */
  start: number;
  points: readonly [at: number, value: number][];
}

export interface ChartProps {
  title: string;
  lines: readonly Line[];
  /** `at`: ms from the start. */
  marks?: readonly Mark[];
  /** How long the time axis is, ms from the start. */
  until: number;
}

/** What a chart that is drawn takes from its latest properties. */
type Drawn = Pick<ChartProps, 'until'> & { marks: readonly Mark[] };

/** A chart over the time since the start. uPlot gets numbers alone: texts are beside it. */
export function Chart({ title, lines, marks = [], until }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState<number | null>(null);
  const theme = useTheme();
  const data = dataOf(lines);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef<Drawn>({ marks, until });
  latest.current = { marks, until };
  useEffect(() => {
    const element = box.current!;
    const made = new uPlot(
      optionsOf(element, { title, lines, until }, () => latest.current, setAt),
      data,
      element,
    );
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    resized.observe(element);
    return () => {
      resized.disconnect();
      made.destroy();
    };
  }, [theme, lines.map((line) => line.color).join(' '), title]);
  useEffect(() => {
    if (plot.current) update(plot.current, data);
  }, [lines, until]);
  return (
    <figure class="chart">
      <figcaption>{title}</figcaption>
      <div ref={box} role="img" aria-label={`${title}: ${lines.map(summary).join('; ')}`} />
      <ul class="legend">
        {lines.map((line, n) => (
          <li key={n}>
            <span class={`swatch s${line.color % COLORS}`} aria-hidden="true" />
            {line.label} {valueAt(data, n, at) ?? lastOf(line)}
          </li>
        ))}
        {at !== null && <li class="note">at {formatDuration((data[0][at] ?? 0) * 1000)}</li>}
      </ul>
    </figure>
  );
}

function valueAt(data: uPlot.AlignedData, n: number, at: number | null): string | null {
  const value = at === null ? null : data[n + 1]?.[at];
  return typeof value === 'number' ? formatNumber(value) : null;
}

function lastOf({ points }: Line): string {
  const last = points.at(-1);
  return last ? formatNumber(last[1]) : '';
}

function summary({ label, points }: Line): string {
  const values = points.map(([, value]) => value);
  const [low, high] = [
    values.reduce((a, b) => Math.min(a, b), Infinity),
    values.reduce((a, b) => Math.max(a, b), -Infinity),
  ];
  return values.length
    ? `${label} from ${formatNumber(low)} to ${formatNumber(high)}, last ${formatNumber(values.at(-1)!)}`
    : label;
}

/** Columns: seconds since the start, and each line's values. */
function dataOf(lines: readonly Line[]): uPlot.AlignedData {
  const tables = lines.map(({ start, points }): uPlot.AlignedData => {
    const byTime = new Map(points.map(([at, value]) => [Math.max(0, at - start) / 1000, value]));
    const times = [...byTime.keys()].sort((a, b) => a - b);
    return [times, times.map((time) => byTime.get(time)!)];
  });
  return tables.length > 1 ? uPlot.join(tables) : (tables[0] ?? [[]]);
}

function optionsOf(
  box: HTMLElement,
  { title, lines }: ChartProps,
  latest: () => Drawn,
  onCursor: (at: number | null) => void,
): uPlot.Options {
  const color = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const [text, grid] = [color('--dim'), color('--line')];
  const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } };
  return {
    width: box.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false },
    scales: {
      x: { time: false, range: (plot, from, to) => timeRange(plot, from, to, latest().until) },
      ...(title.endsWith('%') && { y: { range: [0, 100] as [number, number] } }),
    },
    axes: [
      { ...axis, space: 80, values: (_, times) => times.map((time) => formatDuration(time * 1000)) },
      { ...axis, size: 70, values: (_, values) => values.map((value) => formatNumber(value)) },
    ],
    series: [{}, ...lines.map((line) => ({ stroke: color(`--c${line.color % COLORS}`), width: 2, spanGaps: true }))],
    hooks: {
      draw: [
        (plot) => drawMarks(plot, latest().marks, { attempt: color('--attempt'), checkpoint: color('--checkpoint') }),
      ],
      setCursor: [({ cursor }) => onCursor(cursor.idx ?? null)],
    },
  };
}

/** All of the time, until the reader has chosen a part of it. */
function timeRange({ data: [times] }: uPlot, from: number, to: number, until: number): [number, number] {
  const isAll = times.length === 0 || (from === times[0] && to === times[times.length - 1]);
  return isAll ? [0, Math.max(until / 1000, 1)] : [from, to];
}

/** A part that the reader has chosen stays. */
function update(plot: uPlot, data: uPlot.AlignedData): void {
  const isPart = (plot.scales.x.min ?? 0) > 0;
  plot.setData(data, !isPart);
  if (isPart) plot.redraw();
}

function drawMarks({ ctx, bbox, valToPos }: uPlot, marks: readonly Mark[], colors: Record<Mark['kind'], string>): void {
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  for (const { at, kind } of marks) {
    const x = Math.round(valToPos(at / 1000, 'x', true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = colors[kind];
    ctx.setLineDash(kind === 'checkpoint' ? [2 * devicePixelRatio, 3 * devicePixelRatio] : []);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

/** Changes where the reader's colors do: a canvas keeps what was drawn. */
function useTheme(): boolean {
  const media = matchMedia('(prefers-color-scheme: dark)');
  const [isDark, setDark] = useState(media.matches);
  useEffect(() => {
    const changed = () => setDark(media.matches);
    media.addEventListener('change', changed);
    return () => media.removeEventListener('change', changed);
  }, []);
  return isDark;
}
