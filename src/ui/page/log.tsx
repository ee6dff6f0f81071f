import type { RefObject } from 'preact';
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Query } from './api-client';
import { formatSize } from './format';
import { LogLine } from './log-line';
import { withoutColors } from './log-lines';
import { Loading, TroubleNote } from './parts';
import { useLog, type Log } from './use-log';

/** px, as in page.css. */
const LINE_HEIGHT = 18;
/** Lines that are drawn above and below those that are seen. */
const MARGIN = 30;
/** A longer line is cut. */
const MAX_LENGTH = 5_000;

export function LogView({ query }: { query: Query }) {
  const state = useLog(query);
  const { log, trouble, isLoading } = state;
  const box = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const [view, setView] = useState({ top: 0, height: 600 });
  const { lines } = log;
  const search = useSearch(lines, (line) => {
    if (box.current) box.current.scrollTop = Math.max(0, line * LINE_HEIGHT - view.height / 2);
  });

  useLayoutEffect(() => {
    if (atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines]);
  const onScroll = () => {
    const { scrollTop, clientHeight, scrollHeight } = box.current!;
    atEnd.current = scrollTop + clientHeight >= scrollHeight - LINE_HEIGHT;
    setView({ top: scrollTop, height: clientHeight });
  };
  const moves = useMoves(state, box, atEnd);
  const first = Math.max(0, Math.floor(view.top / LINE_HEIGHT) - MARGIN);
  const last = Math.min(lines.length, Math.ceil((view.top + view.height) / LINE_HEIGHT) + MARGIN);
  if (isLoading) return <Loading />;
  return (
    <section class="log-view">
      <LogBar {...{ log, search, ...moves }} />
      <TroubleNote trouble={trouble} what="The log can't be read." />
      {!log.isVerified && (
        <p class="note">
          The record of the run does not confirm this part of the log: it is shown as it is in the bucket.
        </p>
      )}
      <div class="log" ref={box} onScroll={onScroll} role="log" aria-label="Log" tabIndex={0}>
        <div class="log-lines" style={{ height: `${lines.length * LINE_HEIGHT}px` }}>
          <div style={{ transform: `translateY(${first * LINE_HEIGHT}px)` }}>
            {lines.slice(first, last).map((line, at) => (
              <LogLine
                key={first + at}
                line={line.slice(0, MAX_LENGTH)}
                find={search.text}
                isCurrent={search.current === first + at}
              />
            ))}
          </div>
        </div>
      </div>
      {lines.length === 0 && !trouble && <p class="note">The log is empty.</p>}
    </section>
  );
}

type Moves = { earlier: () => Promise<void> } & Pick<Log, 'later' | 'jump'>;

/** Loads other parts of the log, and keeps or chooses the line that is at the top. */
function useMoves(state: Log, box: RefObject<HTMLDivElement | null>, atEnd: { current: boolean }): Moves {
  const earlier = async () => {
    atEnd.current = false;
    const added = await state.earlier();
    if (box.current) box.current.scrollTop += added * LINE_HEIGHT;
  };
  const later = async () => {
    atEnd.current = false;
    await state.later();
  };
  const jump = async (offset: number | null) => {
    atEnd.current = offset === null;
    await state.jump(offset);
    if (offset !== null && box.current) box.current.scrollTop = 0;
  };
  return { earlier, later, jump };
}

interface LogBarProps extends Moves {
  log: Log['log'];
  search: Search;
}

function LogBar({ log, earlier, later, jump, search }: LogBarProps) {
  return (
    <div class="log-bar">
      <SearchBox {...search} />
      <span class="space" />
      <button type="button" onClick={() => void jump(0)} disabled={log.from === 0}>
        Start
      </button>
      <button type="button" onClick={() => void earlier()} disabled={log.from === 0}>
        Earlier
      </button>
      <label>
        Place
        <input
          type="range"
          min={0}
          max={100}
          value={log.size ? Math.round((100 * log.next) / log.size) : 100}
          onChange={(event) => {
            const share = Number((event.target as HTMLInputElement).value);
            void jump(share === 100 ? null : Math.floor((share / 100) * log.size));
          }}
        />
      </label>
      <button type="button" onClick={() => void later()} disabled={log.hasEnd}>
        Later
      </button>
      <button type="button" onClick={() => void jump(null)}>
        End
      </button>
      <span class="note">
        {formatSize(log.next - log.from)} of {formatSize(log.size)}
        {log.isActive && log.hasEnd && ', followed'}
      </span>
    </div>
  );
}

function SearchBox({ text, setText, hits, hit, go }: Search) {
  const onKey = (event: KeyboardEvent) => {
    if (event.key === 'Enter') go(event.shiftKey ? hit - 1 : hit + 1);
  };
  return (
    <>
      <label>
        Search in what is loaded
        <input
          type="search"
          value={text}
          onInput={(event) => setText((event.target as HTMLInputElement).value)}
          onKeyDown={onKey}
        />
      </label>
      <span role="status">{text && (hits ? `${hit + 1} of ${hits}` : 'not found')}</span>
      <button type="button" onClick={() => go(hit - 1)} disabled={!hits}>
        Previous
      </button>
      <button type="button" onClick={() => go(hit + 1)} disabled={!hits}>
        Next
      </button>
    </>
  );
}

interface Search {
  text: string;
  setText: (text: string) => void;
  /** How many lines have it, which of them is the current one, and that line. */
  hits: number;
  hit: number;
  current: number | undefined;
  go: (to: number) => void;
}

function useSearch(lines: readonly string[], show: (line: number) => void): Search {
  const [text, setText] = useState('');
  const [hit, setHit] = useState(0);
  const hits = useMemo(() => findLines(lines, text), [lines, text]);
  useEffect(() => {
    setHit(0);
    if (hits.length) show(hits[0]);
  }, [text]);
  const go = (to: number) => {
    if (!hits.length) return;
    const next = (to + hits.length) % hits.length;
    setHit(next);
    show(hits[next]);
  };
  return { text, setText, hits: hits.length, hit, current: hits[hit], go };
}

function findLines(lines: readonly string[], text: string): number[] {
  const wanted = text.toLowerCase();
  if (wanted === '') return [];
  return lines.flatMap((line, at) => (withoutColors(line).toLowerCase().includes(wanted) ? [at] : []));
}
