import { posix } from 'node:path';
import { globMatcher } from '../../../config/syntax/glob';
import { outputFault, OUTPUT_DIRECTORY } from '../../../config/settings/outputs';
import { CHECKPOINT_DIRECTORY, UNKNOWN } from './path-value';

export interface Finding {
  value: string;
  /** Where the project says so: `train.py:41 torch.save`. */
  why: string;
}

/** Files of the project that are there before it trains. */
export interface Existing {
  /** Project-relative paths that git tracks, or that are sources. */
  kept: readonly string[];
}

/** The paths that a program writes, as entries of `train.outputs`. */
export class Outputs {
  private readonly found = new Map<string, Finding>();
  /** Paths outside the project. */
  readonly outside: Finding[] = [];

  constructor(private readonly existing: Existing) {}

  /** @param value a path with `UNKNOWN` for what is not known. */
  add(value: string, kind: 'file' | 'directory', why: string): void {
    const path = cleaned(value);
    if (path === null) return;
    if (isOutside(path)) {
      if (
        !/^\/(?:tmp|dev|var\/tmp|proc)(?:\/|$)/.test(path) &&
        !path.includes(UNKNOWN) &&
        !this.outside.some((each) => each.value === path)
      )
        this.outside.push({ value: path, why });
      return;
    }
    const entry = this.entryOf(path, kind);
    if (entry !== null && !this.found.has(entry)) this.found.set(entry, { value: entry, why });
  }

  /** Without those that another one names. */
  list(): Finding[] {
    const all = [...this.found.values()];
    const isInside = (path: string, directory: string) =>
      directory.endsWith('/') && path !== directory && path.startsWith(directory);
    return all.filter(
      ({ value }) =>
        !all.some((other) => isInside(value, other.value)) &&
        !isInside(value, `${OUTPUT_DIRECTORY}/`) &&
        value !== `${OUTPUT_DIRECTORY}/`,
    );
  }

  /** A directory that the program fills, unless it holds files of the project: then the file alone. */
  private entryOf(path: string, kind: 'file' | 'directory'): string | null {
    const parts = path.split('/');
    const unknown = parts.findIndex((part) => part.includes(UNKNOWN));
    const known = unknown < 0 ? parts : parts.slice(0, unknown);
    const directory =
      kind === 'directory' && unknown < 0 ? known.join('/') : known.slice(0, unknown < 0 ? -1 : undefined).join('/');
    if (directory !== '' && !this.hasFiles(directory)) return checked(`${directory}/`);
    const file = globOf(path);
    // A name of which nothing is known, or a directory with the project's own files.
    if (file === null || (kind === 'directory' && directory !== '')) return null;
    const entry = checked(file);
    if (
      entry === null ||
      (unknown >= 0 && this.existing.kept.some(globMatcher({ root: '', written: entry, pattern: entry })))
    )
      return null;
    return entry;
  }

  private hasFiles(directory: string): boolean {
    return this.existing.kept.some((path) => path.startsWith(`${directory}/`));
  }
}

/** A path, relative to the project, as a glob; null if nothing of it, or of its first directory, is known. */
export function globOf(path: string): string | null {
  const [first] = path.split('/');
  if (first.split(UNKNOWN).join('') === '') return null;
  const glob = path.replace(/\0+/g, '*');
  return /^\*+\.\w{1,4}$/.test(glob) &&
    !/\.(?:pth?|ckpt|safetensors|npz|npy|h5|keras|onnx|pkl|joblib|png|svg|pdf)$/.test(glob)
    ? null
    : glob;
}

/** A path without `./`, and a URL of a file without its scheme; null if it is none. */
export function cleaned(value: string): string | null {
  const path = value.replace(/^(?:file|sqlite):\/{2,3}(?=[^/])/, '').replace(/^file:(?=[^/])/, '');
  if (
    path === '' ||
    path.includes(CHECKPOINT_DIRECTORY) ||
    /[\n\r]/.test(path) ||
    /^[a-z][a-z0-9+.-]*:\/\//i.test(path) ||
    /^[A-Za-z]:[\\/]/.test(path)
  )
    return null;
  const plain = posix.normalize(path).replace(/(.)\/$/, '$1');
  return plain === '.' ? null : plain;
}

export function isOutside(path: string): boolean {
  return path.startsWith('/') || path.startsWith('~') || path === '..' || path.startsWith('../');
}

/** An entry that the configuration takes; null: it takes none like it. */
export function checked(entry: string): string | null {
  try {
    return outputFault({ path: entry.replace(/\/$/, ''), download: true }) === null ? entry : null;
  } catch {
    return null;
  }
}
