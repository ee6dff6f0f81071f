import { execFileSync } from 'node:child_process';

/** Workspace-relative paths below a directory that are under version control; null where there is no git repository. */
export function trackedFiles(workspaceRoot: string, directory: string): Set<string> | null {
  try {
    const listed = execFileSync('git', ['-C', workspaceRoot, 'ls-files', '-z', '--', directory], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      maxBuffer: 1 << 28,
    });
    return new Set(listed.split('\0').filter(Boolean));
  } catch {
    return null;
  }
}
