import type { RunPart, SyncReply, WatchPart } from '../../command/plan';
import type { WaitingCommand } from '../../command/waiting-command';
import type { Recipes } from '../../snapshot/recipes';
import type { Snapshot } from '../../snapshot/snapshot';
import type { PackName } from '../../store/packs/index-format';
import type { Head } from '../manifest/head';
import type { EarlyUpload } from '../transport/early-upload';
import type { Transport } from '../transport/transport';

export interface SyncResult<R extends SyncReply> {
  snapshot: Snapshot;
  /** The first instance's. */
  reply: R;
  replies: Map<string, R>;
  /** Why instances did not take the files; never all of them. */
  failures: Map<string, Error>;
  /** Files and bytes (uncompressed) that were sent, the bytes that went to S3, and those that need not. */
  sent: { files: number; bytes: number; uploaded: number; saved: number };
  /** Commands that it took: one, unless the instance lacked what it was thought to have. */
  commands: number;
  /** What remains to be done and may be done beside what follows: telling others, removing the archive. Never rejects. */
  settled: Promise<void>;
}

/** A scan of the workspace. */
export interface ScannedTree {
  snapshot: Snapshot;
  recipes: Recipes;
}

export interface SyncOptions {
  /** Scans the workspace: asked again when a file changed on the way. */
  scan: () => Promise<ScannedTree>;
  /** Run as soon as it is known that nothing is known of the instance: everything that must hold is asked for. */
  preflight: () => Promise<void>;
  /** Called when it is known what will be sent, before anything is. */
  onPlan: (snapshot: Snapshot, head: Snapshot | null, send: { files: number; bytes: number }) => void;
  /** An upload that has begun while the workspace is scanned. */
  early?: EarlyUpload;
  /** What was changed on the instance is overwritten, and not kept. */
  force?: boolean;
  /** The run to start with the same command. It learns the snapshot's id. */
  run?: (snapshot: Snapshot) => Promise<RunPart>;
  /** The watcher to start with the same command: asked for each command that is sent. `key`: base64, of its edits. */
  watch?: () => Promise<{ part: WatchPart; key: string }>;
  /** Store the contents and the manifest before the command is sent, not beside it. */
  storeFirst?: boolean;
  /** Send the command before the files are known where this machine knows what the trees hold; the plan follows. */
  commandFirst?: boolean;
  /** Called just before the command is sent. */
  onSend?: (snapshot: Snapshot) => void;
}

/** Thrown by a step of the pipeline that finds the sync unnecessary: nothing is sent. */
export class SyncNotNeeded extends Error {}

/** How far a sync is: what its steps read and write, and what the retry policy decides by. */
export interface SyncProgress<R extends SyncReply = SyncReply> {
  transport: Transport;
  scanned: ScannedTree;
  /** An upload that began during the scan. Only the first attempt uses it. */
  early?: EarlyUpload;
  /** What the trees should hold; null where that is not known, or was wrong: then everything is named. */
  base: Head | null;
  /** The command that waits for the first attempt's plan. */
  waiting?: Promise<WaitingCommand | null>;
  /** Something was known of the trees at first, so that the command was sent without a preflight. */
  readonly isWarm: boolean;
  /** The preflight has run after a failure. */
  diagnosed: boolean;
  /** The instances that the next command is sent to. */
  pending: string[];
  replies: Map<string, R>;
  failures: Map<string, Error>;
  /** The packs of this attempt must be in the store before its command is sent. */
  uploadFirst: boolean;
  /** Some were not when it was sent. */
  overlapped: boolean;
  /** Attempts so far, each with one command. */
  commands: number;
  /** The packs that this attempt's command names. */
  offered: readonly Pick<PackName, 'sha256' | 'size'>[];
  /** Keys of objects that are of no use after the command. */
  leftovers: string[];
  sent: SyncResult<R>['sent'];
}
