import { join } from 'node:path';
import { literalOutputs, OUTPUT_DIRECTORY } from '../config/settings/outputs';
import { Problem } from '../report/problem';
import { sanitizeForTerminal } from '../report/terminal-text';
import { lookUp } from '../workspace/look-up';
import { trackedFiles } from '../workspace/git/tracked';
import { assertNoSymlinkInPath } from '../workspace/no-symlinks';
import type { Configuration } from '../config/settings/types';

/**
 * Finds before a training starts what would keep its artifacts from coming back: an output that is a link or in a file,
 * and a git that can't say what it tracks.
 * @throws Problem `ARTIFACT_UNSAFE`, `OUTPUT_BLOCKED`, `GIT_FAILED`
 */
export function checkOutputs(workspaceRoot: string, { projectRoot, train }: Configuration): void {
  const root = join(workspaceRoot, projectRoot);
  for (const path of literalOutputs(train.outputs)) {
    assertNoSymlinkInPath(root, path);
    assertNoFileInPath(root, path);
  }
  trackedFiles(root);
}

function assertNoFileInPath(root: string, output: string): void {
  // An output may be a file itself, the output directory may not.
  const directories = output === OUTPUT_DIRECTORY ? output : output.split('/').slice(0, -1).join('/');
  let path = root;
  for (const part of directories.split('/')) {
    path = join(path, part);
    const stat = lookUp(path);
    if (!stat) return;
    if (!stat.isDirectory()) {
      throw new Problem(
        'OUTPUT_BLOCKED',
        `Artifacts can't be written: ${sanitizeForTerminal(path)} is not a directory.`,
        {
          next: 'Move it away, or change "train.outputs".',
        },
      );
    }
  }
}
