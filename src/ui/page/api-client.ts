import { useEffect, useRef, useState } from 'preact/hooks';
import type { Trouble } from '../api';

export type Query = Record<string, string | number>;

export function apiUrl(path: string, query: Query = {}): string {
  const text = new URLSearchParams(Object.entries(query).map(([key, value]) => [key, String(value)])).toString();
  return `/api/${path}${text && `?${text}`}`;
}

/** Asks the server. @throws Trouble */
export async function ask<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  let response: Response;
  try {
    response = await fetch(apiUrl(path, query), { signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw trouble('UNREACHABLE', 'The server does not answer. If it was stopped, run again: npx nx-ec2 ui');
  }
  if (response.ok) return (await response.json()) as T;
  if (response.headers.get('content-type')?.startsWith('application/json')) throw (await response.json()) as Trouble;
  throw trouble('REFUSED', await response.text());
}

export function trouble(code: string, message: string): Trouble {
  return { code, message };
}

export function troubleOf(error: unknown): Trouble {
  const { code, message } = error as Partial<Trouble>;
  return trouble(typeof code === 'string' ? code : 'INTERNAL', message ?? String(error));
}

export interface Answer<T> {
  data: T | null;
  trouble: Trouble | null;
}

/**
 * What the server says, asked again and again while the page is seen. What it said last stays when it fails.
 * @param every ms; 0: once, and again where `path` or `query` change. A function: by what was said last.
 */
export function useAnswer<T>(path: string, query: Query, every: number | ((data: T | null) => number)): Answer<T> {
  const [answer, setAnswer] = useState<Answer<T> & { url: string }>({ data: null, trouble: null, url: '' });
  const url = apiUrl(path, query);
  const interval = useRef(every);
  interval.current = every;
  useEffect(() => {
    const controller = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let last: T | null = null;
    const look = async () => {
      try {
        last = await ask<T>(path, query, controller.signal);
        setAnswer({ data: last, trouble: null, url });
      } catch (error) {
        if (controller.signal.aborted) return;
        setAnswer({ data: last, trouble: troubleOf(error), url });
      }
      const ms = typeof interval.current === 'function' ? interval.current(last) : interval.current;
      if (ms > 0) timer = setTimeout(again, ms);
    };
    const again = () => {
      if (document.visibilityState === 'visible') void look();
      else document.addEventListener('visibilitychange', again, { once: true });
    };
    void look();
    return () => {
      controller.abort();
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', again);
    };
  }, [url]);
  return answer.url === url ? answer : { data: null, trouble: null };
}
