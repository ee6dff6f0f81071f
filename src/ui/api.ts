/** What the server of `nx-ec2 ui` and its page say to each other, as JSON. Texts of others are made safe to print by the server. */

/** Why a part of the page can't be shown. */
export interface Trouble {
  code: string;
  message: string;
}

export interface ProjectRuns {
  /** As the API names it. */
  project: string;
  /** As it is shown. */
  name: string;
  /** Ids, newest first. */
  runs: string[];
  trouble: Trouble | null;
}

export interface Overview {
  store: string;
  projects: ProjectRuns[];
  /** How many projects were looked at: those without runs are not among `projects`. */
  listed: number;
  /** A message that says what is missing; null where nothing is. */
  partial: string | null;
}

export interface RunRow {
  id: string;
  state: string;
  isActive: boolean;
  by: string;
  instance: string;
  nodes: number;
  createdAt: number;
  startedAt: number | null;
  endedAt: number | null;
  /** USD. */
  cost: number | null;
  /** The latest values of the first metrics. */
  metrics: [name: string, value: number | null][];
  progress: { name: string; value: number; secondsPerStep: number | null } | null;
}

/** A run whose record can't be read or verified: nothing that it says is shown. */
export interface UnreadableRun {
  id: string;
  trouble: Trouble;
}

export type Row = RunRow | UnreadableRun;

/** A mark on the time axis; `at`: ms since the epoch. */
export interface Mark {
  at: number;
  label: string;
  kind: 'attempt' | 'checkpoint';
}

export interface RunDetail extends RunRow {
  project: string;
  outcome: string;
  facts: [title: string, value: string][];
  /** The settings that decide the result, one a line. */
  configuration: [name: string, value: string][];
  marks: Mark[];
  warnings: string[];
  /** To be copied. */
  commands: [title: string, command: string][];
  logSize: number;
}

export interface SeriesData {
  name: string;
  /** ms since the epoch, and the value. */
  points: [at: number, value: number][];
  min: number;
  max: number;
  last: number;
}

export interface MetricsData {
  /** What the time is counted from, ms since the epoch. */
  start: number;
  training: SeriesData[];
  machine: SeriesData[];
  marks: Mark[];
  trouble: string | null;
}

/** Lines of a log, whole but for the last ones where `rest` is not null. Offsets are bytes. */
export interface LogPiece {
  from: number;
  next: number;
  size: number;
  text: string;
  /** The line that has not ended, at the end of the log. */
  rest: string | null;
  isActive: boolean;
  /** Whether the record of the run confirms the text. */
  isVerified: boolean;
}

export interface FileRow {
  /** As the API names it. */
  path: string;
  name: string;
  size: number;
}

export interface FilesData {
  files: FileRow[];
  extra: FileRow[];
  /** Of both: how many are not listed. */
  more: number;
  /** What was not saved, as lines. */
  unsaved: string[];
  trouble: Trouble | null;
  checkpoints: { n: number; unit: string; size: number; files: number; at: number; attempt: number }[];
}

export interface CheckpointData {
  files: FileRow[];
  more: number;
}

export interface DifferenceData {
  lines: string[];
}

export interface InstanceRow {
  id: string;
  kind: string;
  state: string;
  type: string;
  market: string;
  isMine: boolean;
  owner: string;
  project: string;
  run: string;
  age: number;
  cost: number | null;
  ends: string;
}

export interface InstancesData {
  region: string;
  perHour: number;
  unknown: number;
  rows: InstanceRow[];
}
