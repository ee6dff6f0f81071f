import { UNKNOWN } from './path-value';
import type { ProjectFiles } from './project-files';

const CONFIGURATION = /(?:^|\/)(?:conf|config|configs|cfg)\/|(?:^|\/)config\.ya?ml$/;

interface Directory {
  directory: string;
  why: string;
}

/** The directories of runs and of sweeps that the project's Hydra configuration sets: `hydra.run.dir`, `hydra.sweep.dir`. */
export function hydraDirectories(files: ProjectFiles): { run?: Directory; sweep?: Directory } {
  const found: { run?: Directory; sweep?: Directory } = {};
  for (const path of files.paths.filter((each) => /\.ya?ml$/.test(each) && CONFIGURATION.test(each)).slice(0, 50)) {
    const text = files.read(path);
    if (text === null) continue;
    const isHydras = /(?:^|\/)hydra\//.test(path);
    for (const { keys, value, line } of entries(text)) {
      const key = keys.join('.');
      const kind = /^(?:hydra\.)?(run|sweep)\.dir$/.exec(key)?.[1] as 'run' | 'sweep' | undefined;
      if (kind && (isHydras || keys[0] === 'hydra'))
        found[kind] ??= { directory: value, why: `${path}:${line} ${key}` };
    }
  }
  return found;
}

/** A longer line holds no path. */
const MAX_LINE_LENGTH = 2_000;

/** The texts of a YAML file of nested keys, in block style; `${…}` in them is not known. */
export function entries(text: string): { keys: string[]; value: string; line: number }[] {
  const open: { indent: number; key: string }[] = [];
  return text.split(/\r?\n/).flatMap((content, at) => {
    if (content.length > MAX_LINE_LENGTH) return [];
    const match = /^( *)([\w.-]+):(?:\s+(.*?))?\s*$/.exec(content.replace(/\s#.*$/, ''));
    if (!match) return [];
    const [, blank, key, value = ''] = match;
    while (open.length > 0 && open[open.length - 1].indent >= blank.length) open.pop();
    open.push({ indent: blank.length, key });
    if (value === '' || /^[&*|>[{]/.test(value)) return [];
    const plain = value.replace(/^(["'])(.*)\1$/, '$2');
    return [{ keys: open.map((each) => each.key), value: withoutReferences(plain), line: at + 1 }];
  });
}

/** `outputs/${now:%Y-%m-%d}`, where references may hold others. */
function withoutReferences(text: string): string {
  for (let before = ''; before !== text;) {
    before = text;
    text = text.replace(/\$\{[^${}]*\}/g, UNKNOWN);
  }
  return text;
}
