import { realpathSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { Problem } from '../../report/problem';
import { printablePath } from '../../report/terminal-text';
import { workspaceAbove } from '../../workspace/git/ignored';
import { nearestDirectory } from '../../workspace/git/run-git';
import { shellWord } from '../../report/shell-words';

/**
 * Refuses to write what comes back among the files that shells and other programs read: into the home directory or one
 * above it, where names such as `.profile` and `bin` act. A project that is in such a directory is one of its workspace.
 * @param output absolute; need not exist.
 * @throws Problem `OUTPUT_UNSAFE`
 */
export function assertNotHome(output: string, run: string, home = homedir()): void {
  if (workspaceAbove(output) !== null) return;
  const nearest = nearestDirectory(output);
  const there = join(realpathSync(nearest), relative(nearest, output));
  const own = realpathSync(nearestDirectory(home));
  const [first] = relative(there, own).split(sep);
  if (first === '..' && there !== own) return;
  throw new Problem(
    'OUTPUT_UNSAFE',
    `${printablePath(output)} ${there === own ? 'is your home directory' : 'holds your home directory'}: shells and other programs act on files in it.`,
    {
      next: `Nothing was written. Choose a directory of its own: --output=${shellWord(join(output, run))}`,
    },
  );
}
