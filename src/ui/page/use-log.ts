import { useEffect, useRef, useState } from 'preact/hooks';
import type { LogPiece, Trouble } from '../api';
import { ask, troubleOf, type Query } from './api-client';
import { LoadedLog } from './loaded-log';

/** How often the end of an active run's log is read, ms. */
const FOLLOW_MS = 2_000;

export interface Log {
  log: LoadedLog;
  trouble: Trouble | null;
  isLoading: boolean;
  /** Loads the lines before those that are there. @returns how many */
  earlier: () => Promise<number>;
  later: () => Promise<void>;
  /** Loads the lines from an offset on in place of those that are there; null: the last ones. */
  jump: (offset: number | null) => Promise<void>;
}

/** The log of a run, of which no more is loaded than was asked for; its end is followed while the run is active. */
export function useLog(query: Query): Log {
  const log = useRef(new LoadedLog()).current;
  const queue = useRef<Promise<unknown>>(Promise.resolve());
  const waiting = useRef(0);
  const [state, setState] = useState<{ trouble: Trouble | null; isLoading: boolean }>({
    trouble: null,
    isLoading: true,
  });

  /** Loads one piece at a time: each begins where the one before it ended. */
  const load = <T>(place: () => Query, use: (piece: LogPiece) => T): Promise<T | undefined> => {
    const work = async () => {
      let trouble: Trouble | null = null;
      try {
        return use(await ask<LogPiece>('log', { ...query, ...place() }));
      } catch (error) {
        trouble = troubleOf(error);
        return undefined;
      } finally {
        waiting.current--;
        setState({ trouble, isLoading: false });
      }
    };
    waiting.current++;
    const done = queue.current.then(work);
    queue.current = done;
    return done;
  };
  const later = async () => {
    await load(
      () => ({ from: log.next }),
      (piece) => log.append(piece),
    );
  };
  const earlier = async () => {
    if (log.from === 0) return 0;
    const added = await load(
      () => ({ before: log.from }),
      (piece) => log.prepend(piece),
    );
    return added ?? 0;
  };
  const jump = async (offset: number | null) => {
    const place: Query = offset === null ? {} : offset === 0 ? { from: 0 } : { at: offset };
    await load(
      () => place,
      (piece) => log.replace(piece),
    );
  };
  useEffect(() => {
    void jump(null);
    const timer = setInterval(() => {
      const isFollowed = document.visibilityState === 'visible' && log.isActive && log.hasEnd;
      if (isFollowed && waiting.current === 0) void later();
    }, FOLLOW_MS);
    return () => clearInterval(timer);
  }, []);
  return { log, ...state, earlier, later, jump };
}
