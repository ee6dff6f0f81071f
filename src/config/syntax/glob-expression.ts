import picomatch from 'picomatch';

/**
 * How every glob of the configuration is read (picomatch): `*` and `**` match names that begin with a dot, and any
 * character of a name, a line break too. A `!` before a pattern is a character like any other.
 */
export const GLOB = { dot: true, flags: 's', nonegate: true };

const STAR = '[^/]*?';
/** A character that is itself, or a class; nothing repeats it. */
const SINGLE = String.raw`(?:\\[^A-Za-z0-9/]|\[(?:\\[^]|[^\]\\])*\]|[^\\()[\]|*+?{}^$./])(?![*+?{])`;
const BETWEEN_STARS = new RegExp(String.raw`\[\^/\]\*\?((?:${SINGLE})+)(?=\[\^/\]\*\?)`, 'g');

/**
 * The regular expression of a glob, for JavaScript and Python alike. What stands between two wildcards of one name is
 * taken where it is found first, and never tried at a later place: the second wildcard matches whatever is between the
 * places. So names that were made for it can't make a pattern such as `*-*-*-*.pt` slow.
 */
export function globSource(pattern: string): string {
  const { source } = picomatch.makeRe(withLiteralPlus(pattern), GLOB);
  let added = 0;
  return source.replace(BETWEEN_STARS, (whole, between: string, offset: number) => {
    if (classesOf(between).some((each) => new RegExp(`^${each}$`, 's').test('/'))) return whole;
    // A lookahead is not tried again, and what it matched is consumed by the reference to it.
    added++;
    return `(?=(${STAR}${between}))\\${capturesIn(source.slice(0, offset)) + added}`;
  });
}

/** A "+" after braces or a class is a character, as in a shell. Picomatch would repeat what is before it. */
function withLiteralPlus(pattern: string): string {
  return pattern.replace(/(\\[^])|([}\]])\+(?!\()/g, (whole, escaped?: string, end?: string) =>
    escaped === undefined ? `${end}\\+` : whole,
  );
}

function classesOf(source: string): string[] {
  return source.match(/\\[^]|\[(?:\\[^]|[^\]\\])*\]/g)?.filter((each) => each.startsWith('[')) ?? [];
}

function capturesIn(source: string): number {
  const plain = source.replace(/\\[^]|\[(?:\\[^]|[^\]\\])*\]/g, '');
  return (plain.match(/\((?!\?)/g) ?? []).length;
}
