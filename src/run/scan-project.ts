import type { ProjectGraph } from '@nx/devkit';
import type { Configuration } from '../config/configuration';
import { printable } from '../report/terminal-text';
import type { Reporter } from '../report/reporter';
import type { Recipes } from '../snapshot/recipes';
import { scan, type ScanResult } from '../snapshot/scan';
import type { Snapshot } from '../snapshot/snapshot';
import { findFiles, type FilesInput, type FoundFiles } from '../workspace/files';
import { scanCache } from '../workspace/state';

export interface Workspace {
  workspaceRoot: string;
  projectGraph: ProjectGraph;
  project: string;
  configuration: Configuration;
  reporter: Reporter;
}

export interface Scanned {
  files: FoundFiles;
  snapshot: Snapshot;
  recipes: Recipes;
}

/** The project's files as they are now. Says what vanished, what was left out, and which patterns match nothing. */
export async function scanProject(workspace: Workspace): Promise<Scanned> {
  const { reporter } = workspace;
  const files = await findFiles(filesInput(workspace));
  for (const warning of files.warnings) reporter.warn(warning);
  const { snapshot, vanished, recipes } = await scanFiles(workspace, files);
  if (vanished.length) {
    reporter.warn(
      `gone since they were listed, not sent: ${vanished.slice(0, 10).map(printable).join(', ')}${vanished.length > 10 ? ` and ${vanished.length - 10} more` : ''}`,
    );
  }
  return { files, snapshot, recipes };
}

/** What of the configuration decides which files travel. */
export function filesInput({ workspaceRoot, projectGraph, project, configuration }: Workspace): FilesInput {
  const { include, exclude, secret, dependencies } = configuration.sync;
  const { outputDir } = configuration.train;
  return { workspaceRoot, projectGraph, projectName: project, include, exclude, secret, dependencies, outputDir };
}

export function scanFiles({ workspaceRoot, project }: Workspace, files: FoundFiles): Promise<ScanResult> {
  return scan({
    workspaceRoot,
    cache: scanCache(workspaceRoot, project),
    paths: files.paths,
    emptyDirectories: files.emptyDirectories,
  });
}
