/** What picomatch repeats for "**": one character that begins no "." or ".." between slashes. */
const GLOBSTAR = String.raw`(?:(?!(?:^|\/)\.{1,2}(?:\/|$)).)*?`;
/** What it looks ahead for before a wildcard at the start of a name. */
const NO_DOTS = [String.raw`(?!\.{1,2}(?:\/|$))`, String.raw`(?!(?:^|\/)\.{1,2}(?:\/|$))`, '(?=.)'];
const TOKEN = /\\[^]|\[\^?\]?(?:\\[^]|[^\]\\])*\]|\(\?(?:[:=!]|<[=!])|[^]/g;
/** Alternatives of one repeated group that are compared with each other. */
const MAX_SEQUENCES = 64;
const QUANTIFIER = /^[*+{]$/;

/** Each token matches one character. */
type Sequence = readonly string[];

/**
 * Finds in the expression of a glob what could match one text in several ways if it is repeated: the time that this takes
 * doubles with each character. The expression is what is run, so it is looked at whatever the glob looks like.
 * @returns the repeated part; null where there is none.
 */
export function ambiguousRepetition(source: string): string | null {
  const tokens = simplify(source).match(TOKEN) ?? [];
  const open: number[] = [];
  for (const [at, token] of tokens.entries()) {
    if (token.startsWith('(')) open.push(at);
    if (token !== ')') continue;
    const start = open.pop() ?? 0;
    if (!QUANTIFIER.test(tokens[at + 1] ?? '')) continue;
    const sequences = sequencesOf(tokens.slice(start + 1, at));
    if (sequences === null || !isPrefixCode(sequences)) return tokens.slice(start, at + 2).join('');
  }
  return null;
}

/** The most wildcards of an expression that match a part of the same name. */
export function wildcardsInName(source: string): number {
  const counts = simplify(source)
    .replace(/\[(?:\\[^]|[^\]\\])*\]/g, 'x')
    .split('\\/')
    .map((part) => (part.replace(/\\[^]/g, 'x').match(/[*+]/g) ?? []).length);
  return Math.max(...counts);
}

function simplify(source: string): string {
  return [...NO_DOTS].reduce((text, each) => text.replaceAll(each, ''), source.replaceAll(GLOBSTAR, '.*?'));
}

/** The texts that tokens without repetition match; null where they repeat something, or are too many. */
function sequencesOf(tokens: readonly string[]): Sequence[] | null {
  const levels: { done: Sequence[]; current: Sequence[] }[] = [{ done: [], current: [[]] }];
  for (const token of tokens) {
    const level = levels[levels.length - 1];
    if (QUANTIFIER.test(token) || token === '?' || /^\(\?(?!:)|^[$^]$/.test(token)) return null;
    if (token.startsWith('(')) levels.push({ done: [], current: [[]] });
    else if (token === '|') {
      level.done.push(...level.current);
      level.current = [[]];
    } else if (token === ')') {
      levels.pop();
      const outer = levels[levels.length - 1];
      const inner = [...level.done, ...level.current];
      outer.current = outer.current.flatMap((before) => inner.map((after) => [...before, ...after]));
      if (outer.current.length > MAX_SEQUENCES) return null;
    } else level.current = level.current.map((before) => [...before, token]);
  }
  const all = [...levels[0].done, ...levels[0].current];
  return all.length > MAX_SEQUENCES ? null : all;
}

/** Whether no sequence can match the beginning of what another matches: then a text is divided in one way at most. */
function isPrefixCode(sequences: readonly Sequence[]): boolean {
  return sequences.every(
    (each, at) =>
      each.length > 0 &&
      sequences.every(
        (other, of) => of <= at || each.some((token, i) => i < other.length && !overlap(token, other[i])),
      ),
  );
}

function overlap(one: string, other: string): boolean {
  const [first, second] = [one, other].map((token) => new RegExp(`^${token}$`, 'si'));
  const universe = [...Array.from({ length: 128 }, (_, code) => String.fromCharCode(code)), '\u00e9', ...one, ...other];
  return universe.some((character) => first.test(character) && second.test(character));
}
