import { BEFORE_BUNDLE, type BeforeBundle } from './before-bundle';
import { total } from './floor';
import { formatBytes, formatMs } from './format';
import { BARE, type Goal, type Measure } from '../scenarios/scenario';

export function atMostFloors(limit: number): Goal {
  return {
    text: `≤ ${limit} × floor`,
    judge: ({ time }, { floor }) => {
      const ratio = time / total(floor!);
      return { value: `${ratio.toFixed(2)} ×`, met: ratio <= limit };
    },
  };
}

/** Together with the loading of the executor's code. */
export function atMostFloorsLoaded(limit: number): Goal {
  return {
    text: `with its loading ≤ ${limit} × floor`,
    judge: ({ time, loading }, { floor }) => {
      if (loading === undefined) return null;
      const ratio = (time + loading) / total(floor!);
      return { value: `${ratio.toFixed(2)} ×`, met: ratio <= limit };
    },
  };
}

/** What a whole process may take more than `nx run` of an executor that does nothing. */
export function atMostFloorsMore(limit: number): Goal {
  return {
    text: `≤ nx run of nothing + ${limit} × floor`,
    judge: ({ more }, { floor }) => {
      const ratio = more['our share'] / total(floor!);
      return { value: `+ ${ratio.toFixed(2)} ×`, met: ratio <= limit };
    },
  };
}

/** @param part of the processor time before the bundle that may be left. */
export function processorSinceBundle(part: number, side: 'client' | 'instance', scenario: keyof BeforeBundle): Goal {
  return {
    text: `processor time, ${side}: ${Math.round((1 - part) * 100)} % less than before the bundle`,
    judge: ({ processor, more }, { rows }) => {
      const nx = rows.find(({ contender }) => contender === BARE)?.measure?.processor.client;
      const now = side === 'client' ? more['processor, our share'] : processor.instance;
      const before = BEFORE_BUNDLE[scenario][side];
      if (nx === undefined || now === undefined) return null;
      // On another machine everything takes longer or shorter, and so does Nx.
      const then = before * (nx / BEFORE_BUNDLE[scenario].nx);
      const change = Math.round((now / then - 1) * 100);
      return {
        value: `${formatMs(now)} instead of ${formatMs(then)}, ${change > 0 ? '+' : ''}${change} %`,
        met: now <= part * then,
      };
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
