import { lstatSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { IgnoreRules } from './ignore-rules';

/**
 * The rules of git that are in no .gitignore of a workspace: those of the repository, then the user's.
 * @returns null where Nx may read them otherwise.
 */
export function userRules(workspaceRoot: string): IgnoreRules[] | null {
  const git = join(workspaceRoot, '.git');
  const repository = isDirectory(git) ? rulesOf(join(git, 'info/exclude')) : ofWorktree(git);
  const user = ofUser();
  if (!repository || !user) return null;
  return [repository, user].filter((rules) => !rules.isEmpty);
}

/** A worktree's or a submodule's rules: none, or Nx must be asked. */
function ofWorktree(git: string): IgnoreRules | null {
  const named = /^gitdir: ([^\n]*)/.exec(readText(git))?.[1];
  if (named === undefined) return NONE;
  const own = resolve(git, '..', named);
  const common = resolve(own, readText(join(own, 'commondir')).trim() || '.');
  return [own, common].every((each) => rulesOf(join(each, 'info/exclude'))?.isEmpty) ? NONE : null;
}

/** Nx reads rules of the user as relative to its working directory: those of names alone are the same everywhere. */
function ofUser(): IgnoreRules | null {
  const home = process.env.HOME || homeOfEntry();
  const settings = process.env.XDG_CONFIG_HOME || join(home, '.config');
  const files = [join(home, '.gitconfig'), join(settings, 'git/config')];
  if (files.some((file) => /excludesfile/i.test(readText(file)))) return null;
  const rules = rulesOf(join(settings, 'git/ignore'));
  return rules?.hasNamesOnly ? rules : null;
}

/** Empty for a user without an entry, as in some containers. */
function homeOfEntry(): string {
  try {
    return homedir();
  } catch {
    return '';
  }
}

const NONE = IgnoreRules.parse('')!;

function rulesOf(file: string): IgnoreRules | null {
  return IgnoreRules.parse(readText(file));
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
