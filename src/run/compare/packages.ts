import { posix } from 'node:path';
import { CONDA_FILES } from '../../config/environment/dependency-files';

/** Packages that one of two lock files names and the other does not, or in another version. */
export interface PackageChanges {
  /** The lock file, workspace-relative. */
  path: string;
  added: { name: string; version: string }[];
  removed: { name: string; version: string }[];
  changed: { name: string; before: string; after: string }[];
}

const TOML = new Set(['uv.lock', 'poetry.lock']);
const REQUIREMENTS = /^requirements[^/]*\.txt$/;
/** Those of other tools are named, not read. */
const OTHERS = new Set([
  'Pipfile.lock',
  'pdm.lock',
  'pixi.lock',
  'conda-lock.yml',
  'package-lock.json',
  ...CONDA_FILES,
]);

/** Whether a path is that of a file that pins packages. */
export function isLockFile(path: string): boolean {
  return isReadable(path) || OTHERS.has(posix.basename(path));
}

/** Whether `readPackages` knows how it is written. */
export function isReadable(path: string): boolean {
  const name = posix.basename(path);
  return TOML.has(name) || REQUIREMENTS.test(name);
}

/** @throws Error for what is not of its format. */
export async function comparePackages(path: string, before: string, after: string): Promise<PackageChanges> {
  const [old, now] = await Promise.all([readPackages(path, before), readPackages(path, after)]);
  const only = (these: Map<string, string>, those: Map<string, string>) =>
    [...these].filter(([name]) => !those.has(name)).map(([name, version]) => ({ name, version }));
  return {
    path,
    added: only(now, old),
    removed: only(old, now),
    changed: [...old].flatMap(([name, version]) => {
      const after = now.get(name);
      return after === undefined || after === version ? [] : [{ name, before: version, after }];
    }),
  };
}

/** Names as PEP 503 writes them, and versions: several where a lock file forks, joined. Sorted. */
export async function readPackages(path: string, text: string): Promise<Map<string, string>> {
  const found = TOML.has(posix.basename(path)) ? await fromToml(text) : fromRequirements(text);
  const versions = new Map<string, Set<string>>();
  for (const [name, version] of found) {
    const normal = name.toLowerCase().replace(/[-_.]+/g, '-');
    versions.set(normal, (versions.get(normal) ?? new Set()).add(version));
  }
  return new Map(
    [...versions].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, all]) => [name, [...all].sort().join(', ')]),
  );
}

async function fromToml(text: string): Promise<[string, string][]> {
  const { parse } = await import('smol-toml');
  const packages = parse(text).package;
  if (packages === undefined) return [];
  if (!Array.isArray(packages)) throw new Error('"package" is no list');
  return packages.flatMap((each): [string, string][] => {
    const { name, version } = each as Record<string, unknown>;
    // A package of the workspace itself may have no version.
    return typeof name === 'string' && typeof version === 'string' ? [[name, version]] : [];
  });
}

/** Lines such as `numpy[extra]==1.26.0 ; python_version > "3.8"  # why`: what is not pinned is no package here. */
function fromRequirements(text: string): [string, string][] {
  return text
    .replace(/\\\r?\n/g, ' ')
    .split(/\r?\n/)
    .flatMap((line): [string, string][] => {
      const pin = /^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\]\s*)?===?\s*([^\s;#,]+)/.exec(line);
      return pin ? [[pin[1], pin[2]]] : [];
    });
}
