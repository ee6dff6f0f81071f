/**
 * The words of a command line as the agent splits them, without a shell: quotes, backslashes and comments, no more.
 * @throws Error where a quote is not closed.
 */
export function shellWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (let at = 0; at < line.length; at++) {
    const char = line[at];
    if (/\s/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (char === '#' && word === undefined) {
      while (at + 1 < line.length && line[at + 1] !== '\n') at++;
    } else if (char === '\\') {
      if (++at >= line.length) throw new Error('EOF found after escape character');
      word = (word ?? '') + line[at];
    } else if (char === '"' || char === "'") {
      word ??= '';
      for (at++; line[at] !== char; at++) {
        if (char === '"' && line[at] === '\\') at++;
        if (at >= line.length) throw new Error('EOF found when expecting closing quote');
        word += line[at];
      }
    } else {
      word = (word ?? '') + char;
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}
