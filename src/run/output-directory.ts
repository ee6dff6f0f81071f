import { basename, join } from 'node:path';
import type { Configuration } from '../config/configuration';
import { Problem } from '../report/problem';
import type { Reporter } from '../report/reporter';
import { printable } from '../report/terminal-text';
import { formatCount } from '../report/units';
import { lookUp } from '../workspace/look-up';
import { trackedFiles } from '../workspace/tracked';
import { refuseSymlinkOnTheWay } from './no-symlinks';

/** Files that only keep an empty directory in git. */
const PLACEHOLDERS = new Set(['.gitkeep', '.keep', '.gitignore']);

/**
 * Finds before a training starts what would keep its artifacts from coming back: an output directory that is a link or
 * a file, and a git that can't say what it tracks. Warns of tracked files, which are never replaced.
 * @throws Problem `ARTIFACT_UNSAFE`, `OUTPUT_BLOCKED`, `GIT_FAILED`
 */
export function checkOutputDirectory(workspaceRoot: string, configuration: Configuration, reporter: Reporter): void {
  const { projectRoot, train } = configuration;
  const root = join(workspaceRoot, projectRoot);
  const output = join(root, train.outputDir);
  refuseSymlinkOnTheWay(root, train.outputDir);
  const directory = printable(join(projectRoot, train.outputDir));
  refuseFileOnTheWay(root, train.outputDir);
  const tracked = [...trackedFiles(output)].filter((path) => !PLACEHOLDERS.has(basename(path))).sort();
  if (tracked.length === 0) return;
  const named = tracked.slice(0, 3).map(printable).join(', ') + (tracked.length > 3 ? ', …' : '');
  reporter.warn(
    `git tracks ${formatCount(tracked.length, 'file')} in the output directory ${directory} (${named}). Tracked files are not replaced: where the training changes one, its version stays in the store, and Nx caches the one that is here.`,
  );
}

function refuseFileOnTheWay(root: string, outputDir: string): void {
  let path = root;
  for (const part of outputDir.split('/')) {
    path = join(path, part);
    const stat = lookUp(path);
    if (!stat) return;
    if (!stat.isDirectory()) {
      throw new Problem('OUTPUT_BLOCKED', `Artifacts can't be written: ${printable(path)} is not a directory.`, {
        next: 'Move it away, or set "train.outputDir".',
      });
    }
  }
}
