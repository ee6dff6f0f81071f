import type { LogPiece, RunFacts, RunState } from '../command/plan';
import { askRun } from './ask';
import { pause } from '../command/run-command';
import { inflated } from './follow';
import { newRunId } from './run-id';
import type { RunRecord } from './record';
import type { Session } from './session';
import { LogStream } from './stream';

/** Between two questions by a command, ms, where no stream brings what is printed. */
const ASK_EVERY = 1_000;
const LONGEST = 5_000;

/**
 * Runs a command on the instance and shows what it prints, as it prints it: by a stream where sessions are allowed, by
 * short commands elsewhere. What it prints is on the instance alone.
 * @param run in whose directory and environment; null: among the synced files.
 */
export async function execute(
  session: Session,
  run: RunRecord | null,
  argv: string[],
  signal: AbortSignal,
  onStart: (started: RunFacts) => void,
): Promise<RunState> {
  const { configuration, project, tree, reporter } = session;
  const instance = run?.instance ?? session.instance;
  const { remote } = session.at(instance);
  const { timeout, grace } = configuration.train;
  const seconds = (ms: number | undefined) => (ms === undefined ? null : Math.ceil(ms / 1000));
  const started = await remote.send<{ run: RunState; log: LogPiece }>(
    {
      op: 'exec',
      run: run?.id ?? null,
      tree,
      exec: {
        id: newRunId(project, new Date()),
        projectRoot: configuration.projectRoot,
        argv,
        timeout: seconds(timeout),
        grace: Math.ceil(grace / 1000),
      },
    },
    { comment: `nx-ec2: ${argv[0]}`, confidential: true, signal },
  );
  let { run: state, log } = started;
  onStart(state);
  let at = 0;
  const accept = (offset: number, data: Buffer) => {
    const known = at - offset;
    if (known < 0 || known >= data.length) return;
    at += data.length - known;
    reporter.log(data.subarray(known));
  };
  accept(log.offset, inflated(log));
  let stream: LogStream | null = null;
  try {
    for (let wait = ASK_EVERY; state.outcome === null || at < log.size; wait = Math.min(LONGEST, wait * 1.2)) {
      if (state.outcome === null) {
        stream ??= LogStream.open(session, state, at, accept);
        await pause(wait, signal);
      }
      const before = at;
      ({ run: state, log } = await askRun(session, state, at, signal));
      accept(log.offset, inflated(log));
      if (at > before) wait = ASK_EVERY;
    }
  } finally {
    stream?.close();
  }
  return state;
}
