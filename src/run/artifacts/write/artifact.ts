import type { SentFiles } from '../../../project/sent-files';
import type { FoldNames } from '../../../workspace/name-folding';
import type { CollectedFiles } from './collected';

/** One artifact as the instance lists it: docs/reference/formats.md, "Artifacts". */
export interface Artifact {
  /** Project-relative. */
  path: string;
  size: number;
  sha256: string;
  executable: boolean;
  /** The path in the run's snapshot whose file it may replace: workspace-relative. */
  sentAs?: string;
}

export interface HeldBack {
  /** Project-relative. */
  path: string;
  why: string;
}

export interface Target {
  /** Absolute: the directory that paths are relative to, as a rule the project's own. */
  output: string;
  /** What was sent. */
  sent: Pick<SentFiles, 'contentOf'>;
  /** Paths that somebody named in full: outside of workspaces and repositories they come whatever their names are. */
  named?: ReadonlySet<string>;
  /** The caller decides itself about files that git does not track and that were edited since they were sent. */
  takesEdited?: boolean;
}

export interface Screened<T extends Artifact> {
  accepted: T[];
  /** Files that git tracks here and that are the same as the artifact: they are not written. */
  unchanged: T[];
  heldBack: HeldBack[];
  /** Paths of those that are held back for what is here now, not for their names: an edit, or a link. */
  changed: Set<string>;
  /** Accepted files that tools act on, in a directory that git and Nx ignore. */
  ignored: string[];
  /** As the file system of the directory compares names. */
  fold: FoldNames;
  /** Paths relative to the directory, folded. */
  tracked: Set<string>;
  /** What an earlier collection brought to the directory. */
  collected: CollectedFiles;
}
