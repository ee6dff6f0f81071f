import type { ComponentChildren } from 'preact';
import { partsOf } from './log-lines';

/** One line of a log: its colors as classes, its text as text. */
export function LogLine({ line, find, isCurrent }: { line: string; find: string; isCurrent: boolean }) {
  return (
    <div class={isCurrent ? 'log-line current' : 'log-line'}>
      {partsOf(line).map(({ text, classes, color }, at) => (
        <span key={at} class={classes || undefined} style={color === null ? undefined : { color: `rgb(${color})` }}>
          {marked(text, find)}
        </span>
      ))}
    </div>
  );
}

/** A text with what was looked for marked in it. */
function marked(text: string, find: string): ComponentChildren {
  if (find === '') return text;
  const [all, wanted] = [text.toLowerCase(), find.toLowerCase()];
  // Of a few characters, the other case has another length.
  if (all.length !== text.length) return text;
  const pieces: ComponentChildren[] = [];
  let from = 0;
  for (let at = all.indexOf(wanted); at >= 0; at = all.indexOf(wanted, from)) {
    pieces.push(text.slice(from, at), <mark key={at}>{text.slice(at, at + find.length)}</mark>);
    from = at + find.length;
  }
  return pieces.length ? [...pieces, text.slice(from)] : text;
}
