import { posix } from 'node:path';

/**
 * An option of a requirements file that names another one, also as an item of a list of conda's. No two of its parts match
 * the same blanks: a line of a million takes no longer than it is long.
 */
const INCLUDE =
  /^(?:-\s+)?["']?(?:-r|-c|--requirement|--constraint)(?:\s*=\s*|\s+|(?<=-[rc]))(?=\S)["']?([^"'#]+)(["']\s*)?(#.*)?$/;

/** A workspace-relative path; null where it is outside the workspace. */
export function insideWorkspace(directory: string, path: string): string | null {
  if (posix.isAbsolute(path)) return null;
  const joined = posix.join(directory, path);
  return joined === '.' || joined === '..' || joined.startsWith('..') ? null : joined;
}

/** The other files of requirements that a requirements file or a conda file names: workspace-relative paths. */
export function includedRequirements(file: string, text: string): string[] {
  return text.split(/\r?\n/).flatMap((line) => {
    const [, path, quote = '', comment] = INCLUDE.exec(line.trim()) ?? [];
    // `#` begins a comment after a blank only.
    if (path === undefined || (comment !== undefined && !/\s$/.test(path + quote))) return [];
    return insideWorkspace(posix.dirname(file), path.trimEnd()) || [];
  });
}

/** The option of a requirements file that names an index, as `INDEX` in the runtime's `uv_pip.py`. */
const INDEX = /^(?:-i|--index-url)(?:\s*=\s*|\s+)(\S+)/;

/** The package indexes that a requirements file names in the place of the configured one. */
export function requirementsIndexes(text: string): string[] {
  return logicalLines(text).flatMap((line) => INDEX.exec(line)?.[1].replace(/^["']+|["']+$/g, '') ?? []);
}

/** Lines without comments, as the runtime's `requirements.lines`: an item of conda's `pip:` list counts as its text. */
function logicalLines(text: string): string[] {
  return text
    .replace(/\\\r?\n/g, ' ')
    .split(/\r\n|[\n\r]/)
    .map((line) => line.replace(/(^|\s)#.*$/, '').trim())
    .map((line) =>
      line.startsWith('- ')
        ? line
            .slice(2)
            .trim()
            .replace(/^["']+|["']+$/g, '')
        : line,
    );
}

/** A requirements file and those that it includes, however deep. `exists` is asked of each; what it denies is left out. */
export function requirementsFiles(
  file: string,
  { exists, read }: { exists(path: string): boolean; read(path: string): string },
): string[] {
  const found = new Set<string>();
  const queue = [file];
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (found.has(path) || !exists(path)) continue;
    found.add(path);
    queue.push(...includedRequirements(path, read(path)));
  }
  return [...found].sort();
}

/** The workspace files that the words of set-up commands name, relative to the project. */
export function namedBySetup(
  projectRoot: string,
  setup: readonly string[][],
  exists: (path: string) => boolean,
): string[] {
  const words = setup.flatMap((line) => line.flatMap((word) => [word, word.slice(word.indexOf('=') + 1)]));
  const paths = words.map((word) => insideWorkspace(projectRoot, word));
  return [...new Set(paths.filter((path): path is string => path !== null && exists(path)))].sort();
}
