import { basename, join } from 'node:path';
import { lstatSync } from 'node:fs';
import { findFiles } from '../workspace/files/find-files';
import type { ChangeBatch } from '../workspace/files/file-events';
import { filesInput, scanFiles, warnPointers, type Scanned, type Workspace } from '../project/scan-project';
import type { FilesInput, FoundFiles, ListFiles } from '../workspace/files/types';
import { placesOf } from '../workspace/files/places';

/** They decide which files Nx lists. */
const IGNORE_FILES = new Set(['.gitignore', '.nxignore']);

/**
 * The project's files again and again, after each burst of changes. Files are listed anew only where something came
 * that is not listed yet: a save of a known one, or its end, is seen by the scan alone.
 */
export class Rescan {
  private files?: FoundFiles;
  private listed = new Set<string>();
  /** What is there and does not travel. */
  private others = new Set<string>();
  private readonly input: FilesInput;
  private readonly included: string[];
  private readonly said = new Set<string>();
  /** Contents that were looked at for pointers of Git LFS. */
  private readonly looked = new Set<string>();

  constructor(
    private readonly workspace: Workspace,
    private readonly list: ListFiles,
  ) {
    this.input = filesInput(workspace);
    this.included = placesOf({ ...this.input, dependencies: false }).slice(1);
  }

  /** @returns also whether the files were listed again. */
  async after(batch: Pick<ChangeBatch, 'paths'>): Promise<Scanned & { relisted: boolean }> {
    const relisted = !this.files || batch.paths === null || this.needsList(batch.paths);
    if (relisted) await this.relist(batch.paths);
    const files = this.files!;
    const { snapshot, recipes } = await scanFiles(this.workspace, files);
    warnPointers(this.workspace, snapshot, this.looked);
    return { files, snapshot, recipes, relisted };
  }

  private needsList(paths: ReadonlySet<string>): boolean {
    let needed = false;
    for (const path of paths) {
      if (IGNORE_FILES.has(basename(path))) {
        this.others.clear();
        needed = true;
      } else if (this.isIncluded(path)) {
        // What a pattern names may leave an empty directory, which travels, too.
        needed = true;
      } else if (!this.listed.has(path) && !this.others.has(path) && this.exists(path)) {
        needed = true;
      }
    }
    return needed;
  }

  private async relist(paths: ReadonlySet<string> | null): Promise<void> {
    const files = await findFiles(this.input, this.list);
    for (const warning of files.warnings) {
      if (!this.said.has(warning)) this.workspace.printer.warn(warning);
      this.said.add(warning);
    }
    this.files = files;
    this.listed = new Set(files.paths);
    if (this.others.size > 10_000) this.others.clear();
    for (const path of paths ?? []) if (!this.listed.has(path) && this.exists(path)) this.others.add(path);
  }

  private isIncluded(path: string): boolean {
    return this.included.some((place) => place === '' || path === place || path.startsWith(`${place}/`));
  }

  private exists(path: string): boolean {
    return lstatSync(join(this.workspace.workspaceRoot, path), { throwIfNoEntry: false }) !== undefined;
  }
}
