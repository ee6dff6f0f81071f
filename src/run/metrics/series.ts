/** A series keeps at most so many points. */
const MAX_POINTS = 1_000;

/** `at`: ms since the epoch. */
export interface Point {
  at: number;
  value: number;
}

/** The values of one metric over time, in a limited number of points that keeps the extremes. */
export class Series {
  readonly points: Point[] = [];
  /** Of all values, not only of those that are kept. */
  min = Infinity;
  max = -Infinity;
  last = NaN;

  add(at: number, value: number): void {
    this.min = Math.min(this.min, value);
    this.max = Math.max(this.max, value);
    this.last = value;
    this.points.push({ at, value });
    if (this.points.length >= 2 * MAX_POINTS) this.thin();
  }

  /** Of four points each, keeps the smallest and the largest, in their order. */
  private thin(): void {
    const { points } = this;
    let to = 0;
    for (let from = 0; from < points.length; from += 4) {
      let [low, high] = [from, from];
      for (let at = from; at < Math.min(from + 4, points.length); at++) {
        if (points[at].value < points[low].value) low = at;
        if (points[at].value > points[high].value) high = at;
      }
      const kept = low === high ? [low] : [Math.min(low, high), Math.max(low, high)];
      for (const point of kept.map((at) => points[at])) points[to++] = point;
    }
    points.length = to;
  }
}
