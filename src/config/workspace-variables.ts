import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';

/**
 * The names of files whose variables Nx puts into the environment of a task: `.env`, `.env.<x>`, `.<x>.env`, in the
 * project and in the workspace root (`getEnvPathsForTask` and `loadRootEnvFiles` of Nx 22 to 24).
 */
const LOADED_BY_NX = /^\.env(\..+)?$|^\..+\.env$/;
/** An assignment as dotenv reads it: `NAME=value`, `export NAME=value`, `NAME: value`. */
const assignment = (name: string) => new RegExp(`^[^\\S\\n]*(?:export\\s+)?${name}(?:\\s*=|:\\s)[^\\S\\n]*(.*)$`, 'gm');

/**
 * Tells which variables of the environment a file of the workspace has set. Nx loads such files before it starts an
 * executor, and the environment keeps no trace of it, so the files are read again. In doubt the answer is yes: a value
 * counts as the shell's own only where the file gives the variable another one.
 */
export class WorkspaceVariables {
  private files: { path: string; text: string }[] | undefined;

  /** @param roots workspace-relative directories whose files Nx loads: the workspace's own and the project's. */
  constructor(
    private readonly workspaceRoot: string,
    private readonly roots: string[],
    private readonly environment: NodeJS.ProcessEnv,
  ) {}

  /** The workspace-relative path of the file that has set a variable; undefined where none has. */
  fileOf(name: string): string | undefined {
    const value = this.environment[name];
    if (!value) return undefined;
    this.files ??= this.roots.flatMap((root) => readFiles(this.workspaceRoot, root));
    return this.files.find(({ text }) =>
      [...text.matchAll(assignment(name))].some(([, written]) => mayBe(written, value)),
    )?.path;
  }
}

function readFiles(workspaceRoot: string, root: string): { path: string; text: string }[] {
  let names: string[];
  try {
    names = readdirSync(join(workspaceRoot, root));
  } catch {
    return [];
  }
  return names
    .filter((name) => LOADED_BY_NX.test(name))
    .flatMap((name) => {
      const path = posix.join(root, name);
      try {
        return [{ path, text: readFileSync(join(workspaceRoot, path), 'utf8').replaceAll('\r\n', '\n') }];
      } catch {
        // What can't be read here, Nx could not load either.
        return [];
      }
    });
}

/** Whether what stands behind `NAME=` can have become this value: by quotes, a comment, an escape, an expansion. */
function mayBe(written: string, value: string): boolean {
  if (/[\\$`]/.test(written) || /^(["'])(?!.*\1)/.test(written.trim())) return true;
  return written.includes(value);
}
