import { dirname, join } from 'node:path';
import { Problem } from '../report/problem';
import { shellWord } from '../report/shell-words';
import { sanitizeForTerminal } from '../report/terminal-text';
import { visibleDirectories, visibleToTools, workspaceAbove, workTreeAbove } from '../workspace/git/ignored';

/**
 * A directory for the run beside the workspace and the git repository that a directory lies in: within them, another copy
 * of the projects would break the project graph, and git would add it. In the directory itself if it lies in neither.
 * @throws Problem `GIT_FAILED`
 */
export function besideWorkspace(directory: string, run: string): string {
  let at = join(directory, run);
  for (let top = topAbove(directory); top !== null && dirname(top) !== top; top = topAbove(dirname(at))) {
    at = join(dirname(top), run);
    if (!isVisible(at)) break;
  }
  return at;
}

/** The workspace or the working tree of git that a directory lies in, whichever is nearer; null: in neither. */
function topAbove(directory: string): string | null {
  const tops = [workspaceAbove(directory), workTreeAbove(directory)].filter((each) => each !== null);
  return tops.sort((a, b) => b.length - a.length)[0] ?? null;
}

function isVisible(directory: string): boolean {
  return visibleToTools(directory, ['project.json']).size > 0 || visibleDirectories(directory, ['']).size > 0;
}

/**
 * Refuses a directory where git or Nx would take the files for the repository's or the workspace's own.
 * @throws Problem `CHECKOUT_IN_WORKSPACE`, `GIT_FAILED`
 */
export function assertHidden(directory: string, run: string): void {
  if (!isVisible(directory)) return;
  const workspace = workspaceAbove(directory);
  const where = workspace === null ? `the git repository ${workTreeAbove(directory)}` : `the workspace ${workspace}`;
  throw new Problem(
    'CHECKOUT_IN_WORKSPACE',
    `${sanitizeForTerminal(directory)} is inside ${sanitizeForTerminal(where)}: ${workspace === null ? 'git' : 'Nx, git'} and other tools would act on the code of the run.`,
    {
      next: `Name the directory in .gitignore, or choose another one: --output=${shellWord(besideWorkspace(directory, run))}`,
    },
  );
}
