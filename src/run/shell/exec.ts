import type { LogPiece, RunFacts, RunState } from '../../command/plan';
import { invalidReply } from '../../command/reply-shapes';
import { pollRun } from '../follow/poll-instance';
import { sleep } from '../../system/sleep';
import { newRunId } from '../record/run-id';
import type { RunRecord } from '../record/record';
import { LogStream } from '../follow/log-stream';
import type { InstanceContext } from '../../context/types';
import { inflated } from '../follow/log-piece';

/** Between two questions by a command, ms, where no stream brings what is printed. */
const POLL_MS = 1_000;
const MAX_POLL_MS = 5_000;
/** An instance sends more of a log that has ended at once, unless it is the last piece. */
const MIN_PIECE_BYTES = 1_024;
/** Answers in a row with less. */
const MAX_STALLED_POLLS = 3;

export interface ExecEvents {
  /** Called before the command is sent: from now on it may have been started. */
  onSend: (sent: CommandName) => void;
  onStart: (started: CommandName) => void;
}

export type CommandName = Pick<RunFacts, 'id' | 'instance'>;

/**
 * Runs a command on the instance and shows what it prints, as it prints it: by a stream where sessions are allowed, by
 * short commands elsewhere. What it prints is on the instance alone.
 * @param run in whose directory and environment; null: among the synced files.
 */
export async function execute(
  context: InstanceContext,
  run: RunRecord | null,
  argv: string[],
  signal: AbortSignal,
  { onSend, onStart }: ExecEvents,
): Promise<RunState> {
  const { configuration, project, tree } = context;
  const instance = run?.instance ?? context.instance;
  const { remote } = context.at(instance);
  const { timeout, gracePeriod: grace } = configuration.train;
  const seconds = (ms: number | undefined) => (ms === undefined ? null : Math.ceil(ms / 1000));
  const id = newRunId(project, new Date());
  onSend({ id, instance });
  const started = await remote.send<{ run: RunState; log: LogPiece }>(
    {
      op: 'exec',
      run: run?.id ?? null,
      tree,
      exec: {
        id,
        projectRoot: configuration.projectRoot,
        argv,
        timeout: seconds(timeout),
        gracePeriod: Math.ceil(grace / 1000),
      },
    },
    { comment: `nx-ec2: ${argv[0]}`, confidential: true, signal },
  );
  onStart(started.run);
  return followCommand(context, started, signal);
}

/** Shows what a command prints until it has ended. */
async function followCommand(
  context: InstanceContext,
  started: { run: RunState; log: LogPiece },
  signal: AbortSignal,
): Promise<RunState> {
  const { printer } = context;
  let { run: state, log } = started;
  let at = 0;
  const accept = (offset: number, data: Buffer) => {
    const known = at - offset;
    if (known < 0 || known >= data.length) return;
    at += data.length - known;
    printer.log(data.subarray(known));
  };
  accept(log.offset, inflated(log));
  let stream: LogStream | null = null;
  let stalled = 0;
  try {
    for (let wait = POLL_MS; state.outcome === null || at < log.size; wait = Math.min(MAX_POLL_MS, wait * 1.2)) {
      if (state.outcome === null) {
        stream ??= LogStream.open(context, state, at, accept);
        await sleep(wait, signal);
      }
      const before = at;
      ({ run: state, log } = await pollRun(context, state, at, signal));
      accept(log.offset, inflated(log));
      if (at > before) wait = POLL_MS;
      if (state.outcome === null || at >= log.size || at - before >= MIN_PIECE_BYTES) stalled = 0;
      else if (++stalled === MAX_STALLED_POLLS)
        throw invalidReply(state.instance, `${state.id} has ended, and its log has ${at} of ${log.size} bytes`);
      else await sleep(POLL_MS, signal);
    }
  } finally {
    stream?.close();
  }
  return state;
}
