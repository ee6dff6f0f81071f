import { posix } from 'node:path';

/** Bytes that a set-up downloads: `least` and `most`, since a lock file names the wheels of every platform and Python. */
export interface DownloadSize {
  least: number;
  most: number;
}

interface Archive {
  url?: string;
  path?: string;
  filename?: string;
  size?: number;
}

interface Dependency {
  name?: string;
  version?: string;
  marker?: string;
  extra?: string[];
}

interface Package {
  name?: string;
  version?: string;
  source?: Record<string, string>;
  dependencies?: Dependency[];
  'optional-dependencies'?: Record<string, Dependency[]>;
  'dev-dependencies'?: Record<string, Dependency[]>;
  wheels?: Archive[];
  sdist?: Archive;
}

/** A marker that leaves a dependency out on Linux, in the forms in which uv writes it. */
const NOT_ON_LINUX = /^(?:sys_platform == '(?:win32|darwin)'|os_name == 'nt'|sys_platform != 'linux')(?: and |$)/;

/**
 * What a set-up of one project downloads on Linux by a uv.lock. Null where the text is no such file or names no sizes.
 * @param member the project's directory, relative to the lock file's.
 */
export function downloadSize(text: string, member: string): DownloadSize | null {
  const packages = packagesOf(text);
  const total = { least: 0, most: 0 };
  for (const name of reachable(packages, posix.normalize(member || '.'))) {
    // A lock file may hold several versions of a package, each for other platforms.
    const sizes = packages.filter((each) => each.name === name).flatMap(sizesOf);
    if (!sizes.length) continue;
    total.least += Math.min(...sizes);
    total.most += Math.max(...sizes);
  }
  return total.most > 0 ? total : null;
}

function packagesOf(text: string): Package[] {
  // Loaded where there is a lock file: the plugin is loaded by every nx command.
  // eslint-disable-next-line @typescript-eslint/no-require-imports
  const { parse } = require('smol-toml') as { parse(text: string): Record<string, unknown> };
  try {
    const found = parse(text).package;
    return Array.isArray(found) ? (found as Package[]) : [];
  } catch {
    return [];
  }
}

/** The names of the packages that the project needs; of all packages where the lock file does not name the project. */
function reachable(packages: Package[], member: string): Set<string> {
  const isMember = ({ source = {} }: Package) =>
    [source.editable, source.virtual].some((path) => path !== undefined && posix.normalize(path) === member);
  const start = packages.find(isMember);
  if (!start) return new Set(packages.flatMap(({ name }) => name ?? []));
  const found = new Set<string>();
  const queue = [...(start.dependencies ?? []), ...(start['dev-dependencies']?.dev ?? [])];
  for (let next = queue.pop(); next; next = queue.pop()) {
    const { name, extra = [], marker = '' } = next;
    const wanted = [name, ...extra.map((each) => `${name}[${each}]`)];
    if (!name || NOT_ON_LINUX.test(marker) || wanted.every((each) => found.has(each!))) continue;
    wanted.forEach((each) => found.add(each!));
    for (const each of packages.filter((one) => one.name === name)) {
      queue.push(...(each.dependencies ?? []), ...extra.flatMap((one) => each['optional-dependencies']?.[one] ?? []));
    }
  }
  return found;
}

/** The sizes of the archives that may be installed on Linux. */
function sizesOf({ wheels = [], sdist }: Package): number[] {
  const named = ({ url, path, filename }: Archive) => filename ?? url ?? path ?? '';
  const fit = wheels.filter((wheel) => /-any\.whl$|manylinux|[-_.]linux_/.test(named(wheel)));
  const sizes = (fit.length ? fit : sdist ? [sdist] : []).map(({ size }) => size);
  return sizes.filter((size): size is number => typeof size === 'number' && size >= 0);
}
