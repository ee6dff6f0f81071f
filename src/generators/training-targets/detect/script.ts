import { posix } from 'node:path';
import type { ProjectFiles } from './project-files';
import { isTest } from './program';
import { languageOf, readSource } from './source';
import type { Source } from './source-types';

export const USUAL = ['train.py', 'src/train.py', 'main.py', 'src/main.py'];
/** In a package's own directory, as @nxlv/python, uv and poetry lay it out. */
const IN_PACKAGE = ['train.py', '__main__.py'];

export interface FoundScript {
  path: string;
  why: string;
}

/** The Python script that trains; several where it is one of these, and none is likelier. */
export function findScript(files: ProjectFiles): FoundScript | { candidates: string[] } {
  const known = new Set(files.paths);
  const usual = USUAL.find((path) => known.has(path));
  if (usual) return { path: usual, why: 'by its name' };
  const packaged = files.paths.find((path) => {
    const parts = path.split('/');
    const isAtTop = parts.length === 2 || (parts.length === 3 && parts[0] === 'src');
    return (
      isAtTop &&
      IN_PACKAGE.includes(parts[parts.length - 1]) &&
      known.has(posix.join(posix.dirname(path), '__init__.py'))
    );
  });
  if (packaged) return { path: packaged, why: 'by its name, in a package' };
  const scripts = files.paths.filter(
    (path) => languageOf(path) === 'python' && !isTest(path) && !path.endsWith('__init__.py'),
  );
  if (scripts.length === 1) return { path: scripts[0], why: 'the only Python file' };
  const sources = scripts.flatMap((path) => {
    const text = files.read(path);
    return text === null ? [] : [readSource(path, text)];
  });
  const runnable = sources.filter(isRunnable);
  const among = runnable.length > 0 ? runnable : sources.filter(({ path }) => !path.includes('/'));
  for (const [why, likely] of [
    ['the only one that can be run', among],
    [
      'the only one that trains, by its name',
      among.filter(({ path }) => /train|finetune|fine_tune|(?:^|[/_])fit/.test(path)),
    ],
    ['the only one that trains', among.filter(trains)],
  ] as const) {
    if (likely.length === 1) return { path: likely[0].path, why };
  }
  const candidates = among.filter(trains);
  return { candidates: (candidates.length > 0 ? candidates : among).map(({ path }) => path) };
}

/** Whether a source has `if __name__ == "__main__"`. */
function isRunnable({ tokens }: Source): boolean {
  return tokens.some(
    ({ kind, text }, at) =>
      kind === 'name' &&
      text === '__name__' &&
      tokens.slice(at, at + 3).some((each) => each.kind === 'string' && each.text === '__main__'),
  );
}

function trains({ calls }: Source): boolean {
  return calls.some(
    ({ name, isDefinition }) =>
      !isDefinition && /\.(?:backward|fit|train|train_on_batch|fit_generator|minimize|apply_gradients)$/.test(name),
  );
}
