import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import type { Trouble } from '../api';

/** Why a part of the page is not there, in its place. */
export function TroubleNote({ trouble, what }: { trouble: Trouble | null; what: string }) {
  if (!trouble) return null;
  return (
    <div class="trouble" role="alert">
      <strong>{what}</strong> <code>{trouble.code}</code>
      <p class="lines">{trouble.message}</p>
    </div>
  );
}

export function Loading({ children = 'Loading …' }: { children?: ComponentChildren }) {
  return (
    <p class="note" role="status">
      {children}
    </p>
  );
}

/** The state of a run, with a color by its kind; the word says the same. */
export function State({ state, isActive }: { state: string; isActive: boolean }) {
  const kind = isActive ? 'active' : state === 'succeeded' ? 'good' : state === 'cancelled' ? 'plain' : 'bad';
  return <span class={`state ${kind}`}>{state}</span>;
}

/** A command line that can be copied. */
export function Command({ title, command }: { title: string; command: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(command);
    setCopied(true);
    setTimeout(() => setCopied(false), 2000);
  };
  return (
    <div class="command">
      <span>{title}</span>
      <code>{command}</code>
      <button type="button" onClick={copy} aria-label={`Copy: ${title}`}>
        {copied ? 'Copied' : 'Copy'}
      </button>
    </div>
  );
}

/** A table's heading that sorts by its column. */
export function SortHead<K extends string>(props: {
  name: K;
  sort: { by: K; down: boolean };
  onSort: (sort: { by: K; down: boolean }) => void;
  children: ComponentChildren;
}) {
  const { name, sort, onSort, children } = props;
  const isSorted = sort.by === name;
  const click = () => onSort({ by: name, down: isSorted ? !sort.down : true });
  return (
    <th scope="col" aria-sort={isSorted ? (sort.down ? 'descending' : 'ascending') : 'none'}>
      <button type="button" class="head" onClick={click}>
        {children}
        <span aria-hidden="true">{isSorted ? (sort.down ? ' ↓' : ' ↑') : ''}</span>
      </button>
    </th>
  );
}
