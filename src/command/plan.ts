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

export interface Limits {
  files: number;
  bytes: number;
}

export interface RunPart {
  id: string;
  key: string;
  project: string;
  projectRoot: string;
  script: string | null;
  command: string[] | null;
  args: string[];
  environment: { manager: EnvironmentManager; root: string; file: string; locked: boolean };
  /** What installs a requirements.txt. */
  installer: 'auto' | 'uv' | 'pip';
  setup: string[][] | null;
  env: Record<string, string>;
  outputDir: string;
  timeout: number | null;
  grace: number;
  rerun: boolean;
  /** A run of the same key that is not to be found, nor any before it: it has failed. */
  known: string | null;
  caller: string;
  /** Nobody renews the form: the instance's role is needed. */
  detached: boolean;
  store: Access;
  artifacts: {
    /** Regular expressions that paths relative to the project match as a whole, or a directory above them; and where without wildcards. */
    outputs: { pattern: string; base: string }[];
    /** The same of what is no result. */
    scratch: { pattern: string; base: string }[];
    /** Directories of outputs that the run's directory gets empty, project-relative: `numberedDirectories`. */
    numbered: string[];
    limits: Limits;
    /** Of files outside the outputs. */
    extra: Limits;
  };
  /** `paths`: as `outputs`, where checkpoints are beside the checkpoint directory. */
  checkpoints: { keep: number; every: number | null; paths: { pattern: string; base: string }[] };
  restore: Restore | null;
  /** The run is gone on with, as this attempt, from what the store has of it: its instance is gone. */
  resume: { attempt: number; beat: number } | null;
  limits: { memory: number | null; cores: number | null };
  claim: Claim;
  retry: { exitCodes: number[]; attempts: number };
  resumeArgs: string[];
  secrets: Record<string, string>;
  mask: string[];
  data: { source: string; path: string }[];
  endpoints: { s3: string | null; ssm: string | null; secretsmanager: string | null };
  index: string | null;
  metrics: { file: string | null; idle: number | null };
  description: Description;
  /** What its record is signed with, base64: it travels in the command even where the plan does not, or sealed. */
  recordKey: string;
  /** What the client has signed of the run, hex: docs/FORMAT.md, "Signed records". It is in the record. */
  identity: string;
}

/** How the instance reaches what is a run's in the store: docs/FORMAT.md, "Runs in the store". */
export interface Access {
  access: 'auto' | 'role' | 'presigned';
  bucket: string;
  region: string;
  endpoint: string | null;
  pathStyle: boolean;
  owner: string | null;
  kms: string | null;
  prefix: string;
  post: PresignedPost | null;
  expires: number | null;
}

/** A checkpoint of another run that a training goes on from. */
export interface Restore {
  run: string;
  n: number;
  sha256: string;
  prefix: string;
  urls: Record<string, string> | null;
}

export interface Claim {
  exclusive: boolean;
  gpus: number;
}

/** What the client knows of a run, for whoever looks at it later. */
export interface Description {
  git: { commit: string; branch: string | null; dirty: boolean; remote: string | null } | null;
  /** As one would type it. */
  command: string;
  /** Who goes on with it where its spot instance is taken away. */
  recovery: 'client' | 'fleet' | 'none';
  /** What decides the result, as configured; no values of variables. */
  configuration: Record<string, unknown>;
  host: string;
  /** What an hour of its instance costs; null: not known. */
  price: Price | null;
}

/** What an instance costs. */
export interface Price {
  /** USD. */
  perHour: number;
  market: 'spot' | 'on-demand';
  /** The zone of a spot price, else the region. */
  where: string;
  /** yyyy-mm-dd (UTC): when it was the price. */
  date: string;
  source: 'ec2' | 'pricing' | 'configured';
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
  | { op: 'train'; tree: string; sync: SyncPart; run: Omit<RunPart, 'recordKey'> }
  | { op: 'watch'; tree: string; sync: SyncPart; watch: WatchPart }
  | { op: 'poll'; run: string; offset: number }
  | { op: 'cancel'; run: string; grace: number }
  | { op: 'exec'; run: string | null; tree: string; exec: ExecPart }
  | { op: 'renew'; run: string; store: Access | null }
  | {
      op: 'doctor';
      probe: { get: string; sha256: string; post: PresignedPost; key: string };
      store: Access;
      /** The parameter that the instance's role must not be able to read. `endpoint`: what stands in AWS's place. */
      secret: { parameter: string; endpoint: string | null };
      /** What sets up the project's environment. `ownIndex`: it takes packages from an index of its own. */
      environment: { manager: EnvironmentManager; installer: 'auto' | 'uv' | 'pip'; ownIndex: boolean } | null;
    }
  /** `keeper`: it fails where no keeper works below the root. */
  | { op: 'activity'; keeper: boolean };

export interface Plan {
  v: 1;
  root: string | null;
  helper: { url: string };
  user: string | null;
}

/** A command that is run beside a training: in its directory, with its environment. */
export interface ExecPart {
  id: string;
  /** Workspace-relative; null: where the run's training is. */
  projectRoot: string;
  argv: string[];
  timeout: number | null;
  grace: number;
}

export type Outcome = 'succeeded' | 'failed' | 'cancelled' | 'timed-out' | 'interrupted' | 'setup-failed' | 'lost';

/** What the instance and the store both say of a run. */
export interface RunFacts {
  id: string;
  key: string;
  project: string;
  /** Whose it is: an ARN. */
  caller: string;
  tree: string;
  snapshot: string;
  instance: string;
  pid: number | null;
  user: string;
  createdAt: number;
  startedAt: number | null;
  endedAt: number | null;
  exitCode: number | null;
  signal: string | null;
  stop: null | { reason: string; at: number };
  failure: null | { code: string; message: string; exitCode: number | null };
  outcome: null | Outcome;
  directory: string;
  attempt: number;
  /** Where it was gone on with from another instance: bytes of its log that were saved there. */
  resumed?: null | { from: string; log: number };
  queue: null | { before: number; holders: string[] };
  claim: Claim;
  gpus: number[] | null;
  /** About its end, for the user. */
  warnings?: string[];
}

/** As the instance knows it. */
export interface RunState extends RunFacts {
  kind: 'training' | 'exec';
  state: 'preparing' | 'queued' | 'setup' | 'running' | 'ended';
  supervisor: number;
  /** The offset in the log at which the training's own output begins. */
  training: number | null;
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
  log: LogPiece;
}

/** A piece of a run's log. */
export interface LogPiece {
  offset: number;
  length: number;
  /** zlib, base64. */
  data: string;
  /** Bytes that the log had. */
  size: number;
}

/** How far the store has been told of a run. */
export interface RunReport {
  /** All of it is there. */
  saved: boolean;
  /** Why it could not be told last. */
  trouble?: string | null;
}

export interface WatchReply extends SyncReply {
  watch: { pid: number };
}

export interface PollReply {
  run: RunState;
  log: LogPiece;
  report: RunReport | null;
}

export interface Check {
  name: string;
  ok: boolean | null;
  detail: string;
  fix: string | null;
}

/** What runs on an instance now. */
export interface ActivityReply {
  /** Ids of runs and commands that run, or whose results are still being saved. */
  runs: string[];
  syncing: boolean;
}
