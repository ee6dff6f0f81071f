import { useEffect, useState } from 'preact/hooks';
import type { Trouble } from '../api';
import { ask, troubleOf } from './api-client';

const REFRESH_MS = 15_000;

export interface RunName {
  project: string;
  run: string;
}

/** What is said of a run; null: nothing yet. */
export type Each<T> = T | Trouble | null;

export function isTrouble<T extends object>(each: Each<T>): each is Trouble {
  return each !== null && 'code' in each && 'message' in each;
}

/** What the server says of each of some runs, asked again while the page is seen. */
export function useEach<T>(path: string, runs: readonly RunName[]): Each<T>[] {
  const [found, setFound] = useState<Each<T>[]>(() => runs.map(() => null));
  const names = runs.map(({ project, run }) => `${project}\n${run}`).join('\n');
  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    const read = async () => {
      if (document.visibilityState !== 'visible') return;
      const one = ({ project, run }: RunName) => ask<T>(path, { project, run }, signal).catch(troubleOf);
      const all = await Promise.all(runs.map(one));
      if (!signal.aborted) setFound(all);
    };
    setFound(runs.map(() => null));
    void read();
    const timer = setInterval(() => void read(), REFRESH_MS);
    return () => {
      controller.abort();
      clearInterval(timer);
    };
  }, [path, names]);
  return found;
}
