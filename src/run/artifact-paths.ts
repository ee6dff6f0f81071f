import { Problem } from '../report/problem';
import { printable } from '../report/terminal-text';
import { formatSize } from '../report/units';

/** One artifact as the instance lists it: docs/FORMAT.md, "collect". */
export interface Artifact {
  /** Project-relative. */
  path: string;
  size: number;
  sha256: string;
  executable: boolean;
}

/**
 * Holds what comes back to the same rules as what goes out: inside the output directory, no `..`, no two names that
 * a file system may take for one, no tracked file overwritten, within the size limit. The instance is not believed.
 * @param outputDir project-relative.
 * @param tracked project-relative paths under version control; null where there is none.
 * @throws Problem that names the first offenders; nothing has been written by then.
 */
export function refuseUnsafeArtifacts(
  artifacts: Artifact[],
  outputDir: string,
  tracked: Set<string> | null,
  maxSize: number,
): void {
  const folded = new Map<string, string>();
  const directories = new Map<string, string>();
  let total = 0;
  for (const { path, size } of artifacts) {
    if (!isInside(path, outputDir)) {
      throw unsafe(`${printable(path)} is not inside the output directory ${outputDir}`);
    }
    if (tracked?.has(path)) {
      throw new Problem(
        'ARTIFACT_TRACKED',
        `The artifact ${printable(path)} would overwrite a file that is under version control.`,
        {
          next: 'Have the training write elsewhere, set "train.outputDir", or remove the file from version control.',
        },
      );
    }
    const key = fold(path);
    const twin = folded.get(key) ?? directories.get(key);
    if (twin !== undefined) throw unsafe(`${printable(path)} and ${printable(twin)} are one name on some file systems`);
    folded.set(key, path);
    const parts = path.split('/');
    for (let depth = 1; depth < parts.length; depth++) {
      const parent = parts.slice(0, depth).join('/');
      const parentKey = fold(parent);
      const other = directories.get(parentKey);
      if ((other !== undefined && other !== parent) || folded.has(parentKey)) {
        throw unsafe(
          `${printable(path)} and ${printable(other ?? folded.get(parentKey)!)} are one name on some file systems`,
        );
      }
      directories.set(parentKey, parent);
    }
    total += size;
  }
  if (total > maxSize) {
    const largest = [...artifacts].sort((a, b) => b.size - a.size).slice(0, 5);
    throw new Problem(
      'ARTIFACTS_TOO_LARGE',
      `The artifacts are ${formatSize(total)}, more than "train.maxArtifactSize" (${formatSize(maxSize)}).`,
      {
        next: `The largest:\n${largest.map(({ path, size }) => `  ${formatSize(size)}  ${printable(path)}`).join('\n')}\nRaise the limit, or choose with "train.artifacts".`,
      },
    );
  }
}

function isInside(path: string, directory: string): boolean {
  if (path.includes('\0') || (path.includes('\\') && process.platform === 'win32')) return false;
  const parts = path.split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..')) return false;
  return path.startsWith(`${directory}/`);
}

function fold(path: string): string {
  return path.normalize('NFC').toLowerCase();
}

function unsafe(why: string): Problem {
  return new Problem('ARTIFACT_UNSAFE', `An artifact was refused: ${why}.`, {
    next: 'Nothing was written. Have the training name its files otherwise, or choose with "train.artifacts".',
  });
}
