import type { ProjectGraph } from '@nx/devkit';
import { printablePath } from '../report/terminal-text';
import { formatCount } from '../report/units';
import type { Printer } from '../report/printer';
import type { Recipes } from '../snapshot/recipes';
import { scan, type ScanInput, type ScanResult } from '../snapshot/scan';
import type { ScannedContents } from '../snapshot/scanned-contents';
import type { Snapshot } from '../snapshot/snapshot';
import { findFiles } from '../workspace/files/find-files';
import { lfsPointers } from '../workspace/git/lfs-pointers';
import { scanCache } from '../workspace/state';
import type { Configuration } from '../config/settings/types';
import type { FilesInput, FoundFiles } from '../workspace/files/types';

export interface Workspace {
  workspaceRoot: string;
  projectGraph: ProjectGraph;
  project: string;
  configuration: Configuration;
  printer: Printer;
}

export interface Scanned {
  files: FoundFiles;
  snapshot: Snapshot;
  recipes: Recipes;
}

/**
 * The project's files as they are now. Warns of files that disappeared or are pointers of Git LFS, and of patterns that
 * match nothing.
 * @param contents gets what is read.
 */
export async function scanProject(workspace: Workspace, contents?: ScannedContents): Promise<Scanned> {
  const { printer } = workspace;
  const { looked, ...files } = await findFiles(filesInput(workspace));
  for (const warning of files.warnings) printer.warn(warning);
  const { snapshot, disappeared, recipes } = await scanFiles(workspace, files, { contents, looked });
  if (disappeared.length) {
    printer.warn(
      `not sent, because they were deleted during the scan: ${disappeared.slice(0, 10).map(printablePath).join(', ')}${disappeared.length > 10 ? ` and ${disappeared.length - 10} more` : ''}`,
    );
  }
  warnPointers(workspace, snapshot);
  return { files, snapshot, recipes };
}

/** Warns of files that hold pointers of Git LFS. @param known what was looked at before: see `lfsPointers`. */
export function warnPointers(
  { workspaceRoot, printer }: Pick<Workspace, 'workspaceRoot' | 'printer'>,
  { entries }: Snapshot,
  known?: Set<string>,
): void {
  const paths = lfsPointers(workspaceRoot, entries, known);
  if (paths.length === 0) return;
  const few = `${paths.slice(0, 5).map(printablePath).join(', ')}${paths.length > 5 ? ', …' : ''}`;
  const are = paths.length === 1 ? 'is a Git LFS pointer' : 'are Git LFS pointers';
  printer.warn(
    `${formatCount(paths.length, 'file')} ${are}, and the contents are not on this machine: ${few}. Run "git lfs pull" to get them.`,
  );
}

/** What of the configuration decides which files travel. */
export function filesInput({ workspaceRoot, projectGraph, project, configuration }: Workspace): FilesInput {
  const { include, exclude, sensitive, dependencies } = configuration.sync;
  const { train } = configuration;
  const outputs = [...train.outputs, ...train.checkpoints.paths];
  return {
    workspaceRoot,
    projectGraph,
    projectName: project,
    include,
    exclude,
    sensitive,
    dependencies,
    outputs,
    environment: configuration.declaredEnvironment,
  };
}

export function scanFiles(
  { workspaceRoot, project }: Workspace,
  files: Pick<FoundFiles, 'paths' | 'emptyDirectories'>,
  given: Pick<ScanInput, 'contents' | 'looked'> = {},
): Promise<ScanResult> {
  return scan({
    workspaceRoot,
    cache: scanCache(workspaceRoot, project),
    paths: files.paths,
    emptyDirectories: files.emptyDirectories,
    ...given,
  });
}
