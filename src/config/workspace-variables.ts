import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';

/**
 * The names of files whose variables Nx puts into the environment of a task: `.env`, `.env.<x>`, `.<x>.env`, in the
 * project and in the workspace root (`getEnvPathsForTask` and `loadRootEnvFiles` of Nx 22 to 24). <x> is the name of a
 * target or a configuration, which may hold slashes.
 */
const LOADED_BY_NX = /^\.env(\..+)?$|^\..+\.env$/s;
/** Directories with a dot that are large and hold no such file; and how deep names with slashes are followed. */
const PASSED_OVER = new Set(['.git', '.nx', '.venv', '.cache', '.nx-ec2']);
const MAX_DIRECTORY_DEPTH = 4;
/** How far up the processes that of nx is looked for. */
const MAX_ANCESTORS = 16;

/**
 * Tells which variables of the environment a file of the workspace has set, changed or emptied. Nx loads such files before
 * it starts an executor. A file can take away what the shell has set: Nx unloads a variable whose value in `.env` is that
 * of the shell, and then loads the task's files, one of which may set it to nothing. On Linux the environment that the
 * outermost nx process was started with shows what is the shell's own. Elsewhere the files are read again, and every
 * variable that one of them assigns counts as set by it.
 */
export class WorkspaceVariables {
  private files: { path: string; text: string }[] | undefined;
  private started: NodeJS.ProcessEnv | null | undefined;

  /**
   * @param roots workspace-relative directories whose files Nx loads: the workspace's own and the project's.
   * @param startedWith reads the environment that nx was started with; null where it can't be known.
   */
  constructor(
    private readonly workspaceRoot: string,
    private readonly roots: string[],
    private readonly environment: NodeJS.ProcessEnv,
    private readonly startedWith: () => NodeJS.ProcessEnv | null = () => null,
  ) {}

  /** The names of variables that have a value, or had one when nx was started. */
  names(): string[] {
    const all = { ...this.startEnvironment(), ...this.environment };
    return Object.keys(all).filter((name) => this.environment[name] || this.started?.[name]);
  }

  /** The workspace-relative path of a file that has set or emptied a variable, or words for one; undefined where none has. */
  fileOf(name: string): string | undefined {
    const value = this.environment[name] ?? '';
    const started = this.startEnvironment();
    if (started ? (started[name] ?? '') === value : value === '') return undefined;
    const file = this.find(assignmentOf(name));
    return file ?? (started ? 'A file that Nx loads (.env and the like)' : undefined);
  }

  /**
   * The same for a variable that has no value now and whose absence matters: where the environment of nx is not known, a
   * file that assigns what may be an empty text counts.
   */
  fileThatEmpties(name: string): string | undefined {
    if (this.environment[name]) return undefined;
    if (this.startEnvironment()) return this.fileOf(name);
    return this.find(assignmentOf(name, '(?![ \\t]*["\'`]?[\\w/.:~-])'));
  }

  /**
   * The same for a variable whose value may hold that of another one: Nx expands `$OTHER`. A file that sets it and has a
   * dollar sign anywhere counts.
   */
  fileThatExpands(name: string): string | undefined {
    const file = this.fileOf(name);
    if (file === undefined) return undefined;
    const assignment = assignmentOf(name);
    const assigning = this.files!.filter(({ text }) => assignment.test(text));
    return assigning.length ? assigning.find(({ text }) => text.includes('$'))?.path : file;
  }

  /** Whether a variable has a value, or a file of the workspace may have taken it away. */
  mayBeSet(name: string): boolean {
    return Boolean(this.environment[name] || this.fileOf(name) || this.fileThatEmpties(name));
  }

  private startEnvironment(): NodeJS.ProcessEnv | null {
    if (this.started === undefined) this.started = this.startedWith();
    return this.started;
  }

  private find(assignment: RegExp): string | undefined {
    this.files ??= this.roots.flatMap((root) => readFiles(this.workspaceRoot, root, '', MAX_DIRECTORY_DEPTH));
    return this.files.find(({ text }) => assignment.test(text))?.path;
  }
}

/** As dotenv reads an assignment; its value may begin on the next line. */
function assignmentOf(name: string, value = ''): RegExp {
  return new RegExp(`(?<![\\w.-])${name.replace(/\W/g, '\\$&')}(\\s*=|:\\s)${value}`);
}

/** The environment that the outermost nx process above this one was started with; null where that is not known. */
export function environmentOfNx(): NodeJS.ProcessEnv | null {
  let found: NodeJS.ProcessEnv | null = null;
  try {
    for (let pid = process.ppid, depth = 0; pid > 1 && depth < MAX_ANCESTORS; depth++) {
      if (isNx(readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')))
        found = parse(readFileSync(`/proc/${pid}/environ`, 'utf8'));
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      pid = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    }
  } catch {
    // No /proc, or a process of another user's further up.
  }
  return found;
}

/**
 * Whether a process is nx by its words: a JavaScript engine that runs a script of that name, which the kernel and npm
 * name by its path. A program that starts it, such as `chamber exec team -- nx run …`, has other variables than it gives
 * to nx.
 */
export function isNx([program, ...words]: readonly string[]): boolean {
  return /(^|\/)(node|nodejs|bun|deno)$/.test(program) && words.some((word) => /\/nx(\.js)?$/.test(word));
}

function parse(environ: string): NodeJS.ProcessEnv {
  const pairs = environ.split('\0').map((pair): [string, string] => {
    const at = pair.indexOf('=');
    return [pair.slice(0, at), pair.slice(at + 1)];
  });
  return Object.fromEntries(pairs.filter(([name]) => name));
}

function readFiles(
  workspaceRoot: string,
  root: string,
  below: string,
  depth: number,
): { path: string; text: string }[] {
  const directory = posix.join(root, below);
  try {
    return readdirSync(join(workspaceRoot, directory), { withFileTypes: true }).flatMap((entry) => {
      const name = posix.join(below, entry.name);
      if (entry.isDirectory()) {
        const may = name.startsWith('.') && !PASSED_OVER.has(name) && depth > 0;
        return may ? readFiles(workspaceRoot, root, name, depth - 1) : [];
      }
      if (!LOADED_BY_NX.test(name)) return [];
      const path = posix.join(root, name);
      try {
        return [{ path, text: readFileSync(join(workspaceRoot, path), 'utf8') }];
      } catch {
        // A file that can't be read here, Nx could not load either.
        return [];
      }
    });
  } catch {
    return [];
  }
}
