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
  const isBusy = useRef(false);
  const [state, setState] = useState<{ trouble: Trouble | null; isLoading: boolean }>({
    trouble: null,
    isLoading: true,
  });

  const load = async <T>(place: Query, use: (piece: LogPiece) => T): Promise<T | undefined> => {
    if (isBusy.current) return undefined;
    isBusy.current = true;
    let trouble: Trouble | null = null;
    try {
      return use(await ask<LogPiece>('log', { ...query, ...place }));
    } catch (error) {
      trouble = troubleOf(error);
      return undefined;
    } finally {
      isBusy.current = false;
      setState({ trouble, isLoading: false });
    }
  };
  const later = async () => {
    await load({ from: log.next }, (piece) => log.append(piece));
  };
  useEffect(() => {
    void load({}, (piece) => log.replace(piece));
    const timer = setInterval(() => {
      if (document.visibilityState === 'visible' && log.isActive && log.hasEnd) void later();
    }, FOLLOW_MS);
    return () => clearInterval(timer);
  }, []);
  return {
    log,
    ...state,
    later,
    earlier: async () => (log.from > 0 && (await load({ before: log.from }, (piece) => log.prepend(piece)))) || 0,
    jump: async (offset) => {
      const place: Query = offset === null ? {} : offset === 0 ? { from: 0 } : { at: offset };
      await load(place, (piece) => log.replace(piece));
    },
  };
}
