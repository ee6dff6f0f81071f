import { join } from 'node:path';
import { isOrdinaryDirectory, visibleDirectories, visibleToTools } from '../../../workspace/git/ignored';
import { lookUp } from '../../../workspace/look-up';
import { bareRepositoryFiles, foldName, toolFile, type ToolFile } from '../../../workspace/tool-files';
import type { Artifact } from './artifact';

/** Which artifacts have names that programs here act on, and may not be written for that. */
export class ToolNames {
  /** The directory is in no workspace and no repository: no tool acts on what is in it by itself. */
  readonly isPlain: boolean;
  /** Paths of artifacts that would make their directory a git repository. */
  private readonly repositories: ReadonlySet<string>;
  private readonly known = new Map<string, ToolFile | null>();
  private visible: ReadonlySet<string> = new Set();
  private visibleDirectories: ReadonlySet<string> = new Set();

  /** @param named paths that somebody named in full. */
  constructor(
    private readonly output: string,
    artifacts: readonly Artifact[],
    private readonly named: ReadonlySet<string>,
  ) {
    this.isPlain = isOrdinaryDirectory(output);
    this.repositories = bareRepositoryFiles(
      artifacts.map(({ path }) => path),
      (path) => lookUp(join(output, path)) !== null,
    );
  }

  /** Asks, once for all artifacts, which of them git and Nx do not ignore. */
  compareWithIgnored(artifacts: readonly Artifact[]): void {
    const acting = artifacts.flatMap(({ path }) => {
      const tool = this.tool(path);
      return tool && !tool.always ? [{ path, directory: tool.directory }] : [];
    });
    this.visible = visibleToTools(
      this.output,
      acting.map(({ path }) => path),
    );
    this.visibleDirectories = visibleDirectories(
      this.output,
      acting.map(({ directory }) => directory),
    );
  }

  /** Whether a file is written whatever its name is: somebody named it, and no tool acts on it by itself. */
  isWanted(path: string): boolean {
    return this.isPlain && this.named.has(path);
  }

  isActedOn(path: string): boolean {
    return this.tool(path) !== null;
  }

  /** Why a file may not be written; null where it may. */
  reason(path: string): string | null {
    const tool = this.tool(path);
    if (tool === null) return null;
    if (tool.always) return this.isWanted(path) ? null : tool.why;
    if (tool.searched && !this.isPlain) return `${tool.why}, in directories that git ignores as well`;
    return this.visible.has(path) || this.visibleDirectories.has(tool.directory)
      ? `${tool.why}, and the directory is not ignored by git and Nx`
      : null;
  }

  private tool(path: string): ToolFile | null {
    let tool = this.known.get(path);
    if (tool === undefined) {
      tool = this.repositories.has(path)
        ? { why: 'it would make its directory a git repository', always: true, directory: '' }
        : (toolFile(path) ?? this.partOfPackage(path));
      this.known.set(path, tool);
    }
    return tool;
  }

  /** unittest imports a package below a package, at any depth. */
  private partOfPackage(path: string): ToolFile | null {
    const directory = path.slice(0, path.lastIndexOf('/') + 1);
    if (foldName(path.slice(directory.length)) !== '__init__.py') return null;
    if (lookUp(join(this.output, directory, '..', '__init__.py')) === null) return null;
    return { why: 'test runners import packages of a package', always: false, searched: true, directory };
  }
}
