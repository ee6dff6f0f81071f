/** What JSON consists of besides values without quotes; comments as Nx reads them. */
const TOKEN = /"(?:[^"\\]|\\.)*"|\/\/[^\n]*|\/\*[^]*?\*\/|[{}[\],:]/g;

/**
 * The first key that is written twice in one object: `JSON.parse` takes the last, a reader sees the first.
 * @param text valid JSON, maybe with comments and trailing commas. @returns its second line, from 1.
 */
export function repeatedKey(text: string): { key: string; line: number } | null {
  // Of each open object its keys; null for a list.
  const open: (Set<string> | null)[] = [];
  let last: { key: string; at: number } | undefined;
  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    if (token.startsWith('/')) continue;
    if (token === '{') open.push(new Set());
    else if (token === '[') open.push(null);
    else if (token === '}' || token === ']') open.pop();
    else if (token === ':' && last) {
      const keys = open.at(-1);
      if (keys?.has(last.key)) return { key: last.key, line: text.slice(0, last.at).split('\n').length };
      keys?.add(last.key);
    }
    last = token.startsWith('"') ? { key: JSON.parse(token) as string, at: index } : undefined;
  }
  return null;
}
