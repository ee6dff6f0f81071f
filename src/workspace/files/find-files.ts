import { Problem } from '../../report/problem';
import { sanitizeForTerminal, printablePath } from '../../report/terminal-text';
import { formatCount } from '../../report/units';
import { environmentFiles } from '../../config/environment/environment';
import { gitFiles, specialFiles } from '../git/git-files';
import type { FilesInput, FoundFiles, ListFiles } from './types';
import { applyCredentialRule } from './credential-files';
import { whyLeftOut } from './left-out-by-default';
import { danglingLinks } from './dangling-links';
import { type NotListed, compareWithGit, describeNested } from './not-listed';
import { listFiles, type Listed } from './list-files';
import { unusedPatterns } from './unused-patterns';
import { findIncluded } from './included';
import { projectsOf } from './places';

/**
 * The files of a project: its own and its dependencies' as Nx lists them, those that its environment is made of,
 * and what `include` names though it is git-ignored; less what `exclude` names and what never travels.
 * @throws Problem where nothing is left to send.
 */
export async function findFiles(input: FilesInput, list?: ListFiles): Promise<FoundFiles> {
  const { workspaceRoot, projectGraph, projectName } = input;
  const projectRoot = projectGraph.nodes[projectName].data.root;
  const found = findIncluded({ ...input, projectRoot });
  const { paths, emptyDirectories, leftOut, warnings, take } = found;
  const included = new Set([...paths, ...emptyDirectories]);
  const projects = projectsOf(input);
  const roots = projects.map((name) => projectGraph.nodes[name].data.root);
  const reasons = whyLeftOut(workspaceRoot, roots);
  const onGitFailed = (error: Error) => {
    warnings.push(
      `git could not list the files, so only those that Nx lists are sent: ${sanitizeForTerminal(error.message)}`,
    );
    return null;
  };
  const [git, listed] = await Promise.all([
    gitFiles(workspaceRoot, roots).catch(onGitFailed),
    listFiles(workspaceRoot, projectGraph, projects, list),
  ]);
  const add = (file: string) => {
    const why = paths.has(file) ? null : reasons(file);
    if (why) leftOut.push({ path: file, why });
    else take(file, git?.tracked.has(file));
  };
  for (const file of listed.paths) add(file);
  const nothing: NotListed = { send: [], leftOut: [], named: [], nested: new Map() };
  const missed = git
    ? ((await compareWithGit(workspaceRoot, { projectGraph, projects, listed, git, found }).catch(onGitFailed)) ??
      nothing)
    : nothing;
  for (const file of missed.send) add(file);
  leftOut.push(...missed.leftOut);
  const special = specialBeside(workspaceRoot, listed, paths).filter((path) => !paths.has(path));
  leftOut.push(...special.map((path) => ({ path, why: 'neither a file nor a directory' })));
  const environment = { workspaceRoot, projectRoot, choice: input.environment };
  for (const file of environmentFiles(environment, found.excluded)) take(file);
  applyCredentialRule({ workspaceRoot, projectRoot }, found, included);

  if (paths.size + emptyDirectories.size === 0) throw nothingToSend(projectName, projectRoot, leftOut);
  const unsent = [...missed.named, ...special];
  if (unsent.length)
    warnings.push(
      `not sent: ${formatCount(unsent.length, 'path')} (${unsent.slice(0, 5).map(printablePath).join(', ')}${unsent.length > 5 ? ', …' : ''}). To see why: remote-sync --dryRun`,
    );
  if (missed.nested.size) warnings.push(describeNested(projectName, missed.nested));
  warnings.push(...danglingLinks(workspaceRoot, paths, missed.send));
  warnings.push(...unusedPatterns(input, paths, found.unusedExcludes()));
  return {
    paths: [...paths].sort(),
    emptyDirectories: [...emptyDirectories].sort(),
    leftOut,
    warnings,
    looked: listed.walked ?? undefined,
  };
}

function specialBeside(workspaceRoot: string, { paths: listed, walked }: Listed, sent: ReadonlySet<string>): string[] {
  if (walked) return [...walked.special, ...specialFiles(workspaceRoot, sent, walked.directories)];
  return specialFiles(workspaceRoot, [...listed, ...sent]);
}

function nothingToSend(projectName: string, projectRoot: string, leftOut: FoundFiles['leftOut']): Problem {
  const why = leftOut.length
    ? `all ${leftOut.length} files are left out (${leftOut[0].path}: ${leftOut[0].why})`
    : `Nx lists no files in ${projectRoot}`;
  return new Problem('NOTHING_TO_SEND', `${projectName} has no files to send: ${why}.`, {
    next: 'Git-ignored files are only sent if "sync.include" names them.',
  });
}
