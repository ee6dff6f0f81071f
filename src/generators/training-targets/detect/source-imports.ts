import { type Token, MAX_CHAIN, is, isEnd, MAX_TOKENS } from './tokens';
import type { Import } from './source-types';

/** The names with dots between them that begin at a token. */
export function dotted(tokens: Token[], at: number): string[] {
  const names: string[] = [];
  for (; tokens[at]?.kind === 'name' && names.length < MAX_CHAIN; at += 2) {
    names.push(tokens[at].text);
    if (!is(tokens[at + 1], '.')) break;
  }
  return names;
}

/** The statements that begin with a word, each as the tokens after it. */
function statements(tokens: Token[], word: string): { at: number; line: number; rest: Token[] }[] {
  return tokens.flatMap((token, at) => {
    if (token.kind !== 'name' || token.text !== word || (at > 0 && !isEnd(tokens[at - 1]) && !is(tokens[at - 1], ':')))
      return [];
    let end = at + 1;
    while (end < tokens.length && end - at < MAX_TOKENS && !isEnd(tokens[end])) end += 1;
    return [{ at, line: token.line, rest: tokens.slice(at + 1, end) }];
  });
}

interface Named {
  module: string;
  line: number;
  /** [name, the name that it has here]; null: the module itself. */
  names: [string, string][] | null;
  alias: string | null;
}

function namedImports(tokens: Token[]): Named[] {
  const plain = statements(tokens, 'import').flatMap(({ line, rest }) =>
    splitList(rest).map((part): Named => {
      const names = dotted(part, 0);
      const alias = part[2 * names.length - 1]?.text === 'as' ? part[2 * names.length]?.text : null;
      return { module: names.join('.'), line, names: null, alias: alias ?? null };
    }),
  );
  const from = statements(tokens, 'from').flatMap(({ line, rest }): Named[] => {
    const word = rest.findIndex(({ kind, text }) => kind === 'name' && text === 'import');
    if (word < 0) return [];
    const module = rest
      .slice(0, word)
      .map(({ text }) => text)
      .join('');
    const list = splitList(rest.slice(word + 1).filter((token) => !is(token, '(') && !is(token, ')')));
    const names = list
      .filter(([first]) => first?.kind === 'name')
      .map((part): [string, string] => [part[0].text, part[2]?.text ?? part[0].text]);
    return [{ module, line, names, alias: null }];
  });
  return [...plain, ...from].filter(({ module }) => module !== '');
}

function splitList(tokens: Token[]): Token[][] {
  const parts: Token[][] = [[]];
  for (const token of tokens) {
    if (is(token, ',')) parts.push([]);
    else if (token.kind !== 'newline') parts[parts.length - 1].push(token);
  }
  return parts;
}

export function importsOf(tokens: Token[]): Import[] {
  return namedImports(tokens)
    .map(({ module, line, names }) => ({ module, line, names: (names ?? []).map(([name]) => name) }))
    .sort((a, b) => a.line - b.line);
}

/** The full name of each name that an import makes. */
export function aliasesOf(tokens: Token[]): Map<string, string> {
  const aliases = new Map<string, string>();
  for (const { module, names, alias } of namedImports(tokens)) {
    if (alias) aliases.set(alias, module);
    for (const [name, here] of names ?? []) aliases.set(here, `${module}.${name}`);
  }
  return aliases;
}
