import { total } from './floor';
import { formatBytes, formatMs } from './format';
import type { Goal, Measure } from '../scenarios/scenario';

export function atMostFloors(limit: number): Goal {
  return {
    text: `≤ ${limit} × floor`,
    judge: ({ time }, { floor }) => {
      const ratio = time / total(floor!);
      return { value: `${ratio.toFixed(2)} ×`, met: ratio <= limit };
    },
  };
}

/** Without what of it `less` says. */
export function atMostFloorsWithout(limit: number, less: (measure: Measure) => number, what: string): Goal {
  return {
    text: `without ${what} ≤ ${limit} × floor`,
    judge: (ours, { floor }) => {
      const ratio = (ours.time - less(ours)) / total(floor!);
      return { value: `${ratio.toFixed(2)} ×`, met: ratio <= limit };
    },
  };
}

export function timesAheadOf(contender: string, times: number): Goal {
  return {
    text: times === 1 ? `ahead of ${contender}` : `≥ ${times} × ahead of ${contender}`,
    judge: ({ time }, { rows }) => {
      const other = rows.find((row) => row.contender === contender)?.measure;
      return other ? { value: `${(other.time / time).toFixed(1)} ×`, met: other.time / time >= times } : null;
    },
  };
}

export const aheadOfAll: Goal = {
  text: 'ahead of all',
  judge: ({ time }, { rows }) => {
    const others = rows.slice(1).flatMap(({ measure }) => measure?.time ?? []);
    if (!others.length) return null;
    const best = Math.min(...others);
    return { value: `${(best / time).toFixed(1)} × the next`, met: best > time };
  },
};

/** @param limit ms beyond the floor. */
export const behindFloor = (limit: number): Goal => ({
  text: `at most ${formatMs(limit)} behind the floor`,
  judge: ({ time }, { floor }) => {
    const behind = time - total(floor!);
    return { value: formatMs(behind), met: behind <= limit };
  },
});

export const within = (limit: number, of: (measure: Measure) => number | undefined, what: string): Goal =>
  bounded(`${what} ≤ ${formatMs(limit)}`, limit, of, formatMs);

export const atMostBytes = (limit: number, of: (measure: Measure) => number | undefined, what: string): Goal =>
  bounded(`${what} ≤ ${formatBytes(limit)}`, limit, of, formatBytes);

/** A goal whose value is a ratio that the scenario has measured. */
export const atMostTimes = (limit: number, of: (measure: Measure) => number, what: string): Goal =>
  bounded(`≤ ${limit} × ${what}`, limit, of, (value) => `${value.toFixed(2)} ×`);

export const oneCommand: Goal = bounded('one command', 1, ({ commands }) => commands, String);

function bounded(
  text: string,
  limit: number,
  of: (measure: Measure) => number | undefined,
  format: (value: number) => string,
): Goal {
  return {
    text,
    judge: (ours) => {
      const value = of(ours);
      return value === undefined ? null : { value: format(value), met: value <= limit };
    },
  };
}
