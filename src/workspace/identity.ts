import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { basename, join } from 'node:path';
import { readText } from '../config/syntax/read-text';
import { withoutCredentials } from '../report/url-credentials';

/** What a workspace is known by in every clone: its origin without credentials, else its package's name, else its folder's. */
export function workspaceIdentity(workspaceRoot: string): string {
  try {
    const origin = execFileSync('git', ['-C', workspaceRoot, 'config', '--get', 'remote.origin.url'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
    if (origin) return withoutCredentials(origin);
  } catch {
    // No git, or no origin.
  }
  try {
    const { name } = JSON.parse(readText(join(workspaceRoot, 'package.json'))) as { name?: string };
    if (name) return name;
  } catch {
    // No package.json.
  }
  return basename(workspaceRoot);
}

/** Who a caller is: in CI the session's name changes with each job; the role is who it is. */
export function callerIdentity(arn: string): string {
  return process.env.CI ? arn.replace(/(:assumed-role\/[^/]+)\/.*$/, '$1') : arn;
}

/** The tree of one project of one workspace of one caller, or of everyone who names the same `tree`. */
export function treeId(of: { workspace: string; project: string; caller: string; tree?: string }): string {
  const parts = of.tree === undefined ? [of.workspace, of.project, callerIdentity(of.caller)] : [of.tree, of.project];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 24);
}
