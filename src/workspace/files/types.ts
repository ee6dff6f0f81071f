import type { ProjectGraph } from '@nx/devkit';
import type { Output } from '../../config/settings/outputs';
import type { LookedAt } from '../../snapshot/scan';
import type { EnvironmentChoice } from '../../config/environment/environment-choice';

export interface FilesInput {
  workspaceRoot: string;
  projectGraph: ProjectGraph;
  projectName: string;
  include: string[];
  exclude: string[];
  /** `sync.sensitive`; given where a pattern that matches nothing is to be reported. */
  sensitive?: string[];
  dependencies: boolean;
  /** What trainings leave never travels back to the instance. */
  outputs: readonly Output[];
  /** The files that the project's environment is made of travel, wherever in the workspace they are. */
  environment: EnvironmentChoice;
}

export interface FoundFiles {
  /** Workspace-relative, sorted. */
  paths: string[];
  emptyDirectories: string[];
  leftOut: { path: string; why: string }[];
  warnings: string[];
  /** What `lstat` said a moment ago, if it was asked. */
  looked?: LookedAt;
}

/** Workspace-relative paths of the files of projects. */
export type ListFiles = (projectGraph: ProjectGraph, projects: readonly string[]) => Promise<string[]>;
