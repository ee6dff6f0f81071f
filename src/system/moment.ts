/** Milliseconds by the monotonic clock. It may stand still while the machine sleeps. */
export function steadyNow(): number {
  return performance.now();
}

/**
 * A moment of this process, for what must not be taken for younger than it is: the machine may have slept since, and its
 * clock may have been set back.
 */
export class Moment {
  private readonly wall: number;
  private readonly steady: number;

  /** @param before how long before now, ms. */
  constructor(before = 0) {
    this.wall = Date.now() - before;
    this.steady = steadyNow() - before;
  }

  /** How long ago it was, ms. */
  get age(): number {
    return Math.max(Date.now() - this.wall, steadyNow() - this.steady);
  }
}
