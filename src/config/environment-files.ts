import { posix } from 'node:path';

/** An option of a requirements file that names another one, also as an item of a list of conda's. */
const INCLUDE =
  /^(?:-\s+)?["']?(?:-r|-c|--requirement|--constraint)(?:\s*=\s*|\s+|(?<=-[rc]))["']?([^"'#]+?)["']?\s*(?:\s#.*)?$/;

/** A workspace-relative path; null where it is outside the workspace. */
export function insideWorkspace(directory: string, path: string): string | null {
  if (posix.isAbsolute(path)) return null;
  const joined = posix.join(directory, path);
  return joined === '.' || joined === '..' || joined.startsWith('../') ? null : joined;
}

/** The other files of requirements that a requirements file or a conda file names: workspace-relative paths. */
export function includedRequirements(file: string, text: string): string[] {
  return text.split(/\r?\n/).flatMap((line) => {
    const named = INCLUDE.exec(line.trim())?.[1];
    return (named !== undefined && insideWorkspace(posix.dirname(file), named)) || [];
  });
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
