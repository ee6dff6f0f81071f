/** The shapes of docs/FORMAT.md, "Plan": what the client asks of the remote side, and what it answers. */
import type { PresignedPost } from '../store/store';

export interface SyncPart {
  snapshot: string;
  base: string | null;
  manifest: string | null;
  delta: { gone: string[]; records: string } | null;
  history: { snapshot: string; url: string }[];
  recipes: Record<string, RecipeStep[]>;
  packs: { sha256: string; size: number; url: string; spare: boolean }[];
  data: Record<string, string>;
  archive: { url: string; sha256: string; size: number } | null;
  limits: { entries: number; bytes: number };
  force: boolean;
}

/** A chunk, or a piece of a content of the base: its offset and its size, bytes. */
export type RecipeStep =
  readonly [chunk: string, size: number] | readonly [content: string, offset: number, size: number];

export type EnvironmentManager = 'uv' | 'poetry' | 'conda' | 'pip' | 'none';

export interface RunPart {
  id: string;
  key: string;
  project: string;
  projectRoot: string;
  script: string | null;
  command: string[] | null;
  args: string[];
  environment: { manager: EnvironmentManager; root: string; file: string; locked: boolean };
  setup: string[][] | null;
  env: Record<string, string>;
  outputDir: string;
  timeout: number | null;
  grace: number;
  rerun: boolean;
  /** URL of the package index in the public one's place. */
  index: string | null;
}

/** The watcher to start: where it finds edits, where it acknowledges them. Their key travels in the command itself. */
export interface WatchPart {
  session: string;
  /** Key prefix in the store, ends in a slash. */
  prefix: string;
  /** Presigned GETs of the first edits. */
  urls: string[];
  post: PresignedPost;
  /** Seconds. */
  lease: number;
}

/** A message to the watcher. */
export interface Edit {
  v: 1;
  n: number;
  /** null: nothing but a sign of life. */
  sync: SyncPart | null;
  /** Presigned GETs of edits to come, by their numbers. */
  urls: Record<string, string>;
  post: PresignedPost | null;
  end: boolean;
}

/** What an operation adds to the plan's envelope. */
export type Operation =
  | { op: 'sync'; tree: string; sync: SyncPart }
  | { op: 'train'; tree: string; sync: SyncPart; run: RunPart }
  | { op: 'watch'; tree: string; sync: SyncPart; watch: WatchPart }
  | {
      op: 'poll';
      run: string | null;
      project: string;
      tree: string;
      cursor: Cursor;
      overflow: { post: PresignedPost; key: string; limit: number } | null;
    }
  | { op: 'cancel'; run: string | null; project: string; tree: string; grace: number }
  | {
      op: 'collect';
      run: string;
      patterns: string[];
      limits: { files: number; bytes: number };
      post: PresignedPost;
      prefix: string;
    }
  | { op: 'collected'; run: string }
  | { op: 'doctor'; probe: { get: string; sha256: string; post: PresignedPost; key: string } };

export interface Plan {
  v: 1;
  root: string | null;
  helper: { url: string };
  user: string | null;
}

export interface RunState {
  id: string;
  key: string;
  project: string;
  tree: string;
  snapshot: string;
  state: 'preparing' | 'setup' | 'running' | 'ended';
  pid: number | null;
  supervisor: number;
  user: string;
  createdAt: number;
  startedAt: number | null;
  endedAt: number | null;
  exitCode: number | null;
  signal: string | null;
  stop: null | { reason: 'cancelled' | 'timeout' | 'shutdown'; at: number };
  failure: null | { code: string; message: string; exitCode: number | null };
  outcome: null | 'succeeded' | 'failed' | 'cancelled' | 'timed-out' | 'interrupted' | 'setup-failed' | 'lost';
  collected: boolean;
  directory: string;
}

export interface SyncReply {
  head: string;
  written: number;
  deleted: number;
  bytes: number;
  /** The tree held something else than the base. */
  healed: boolean;
  restored: string[];
  restoredCount: number;
  /** Where what was put back was moved to before. */
  kept: string | null;
  tree: string;
  user: string;
}

export interface TrainReply extends SyncReply {
  run: RunState;
  attached: false | 'running' | 'ended';
}

export interface WatchReply extends SyncReply {
  watch: { pid: number };
}

export type LogName = 'setup' | 'training';

export interface Cursor {
  log: LogName;
  offset: number;
}

export type Segment = { log: LogName; offset: number; length: number } & (
  { data: string } | { stored: string; sha256: string }
);

export interface CollectState {
  state: 'uploading' | 'done' | 'failed';
  files: number;
  bytes: number;
  uploaded: number;
  list: { key: string; sha256: string; size: number } | null;
  error: null | { code: string; message: string; detail: Record<string, unknown> };
}

export interface PollReply {
  run: RunState;
  cursor: Cursor;
  more: boolean;
  segments: Segment[];
  collect: CollectState | null;
}

export interface Check {
  name: string;
  ok: boolean | null;
  detail: string;
  fix: string | null;
}
