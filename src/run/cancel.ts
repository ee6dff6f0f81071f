import type { PollReply, RunState } from '../command/plan';
import { pause } from '../command/run-command';
import { formatDuration } from '../report/units';
import type { Session } from './session';

/**
 * Asks a run to stop and waits for its end: SIGTERM to the whole process tree, the grace, SIGKILL.
 * @param runId null: the latest of this project's tree.
 */
export async function cancelRun(
  session: Session,
  runId: string | null,
  signal: AbortSignal | undefined,
  onAsked: (id: string) => void,
): Promise<{ run: RunState; already: boolean }> {
  const { project, tree, remote, reporter, stillThere } = session;
  const grace = session.configuration.train.grace;
  const asked = await remote.send<{ run: RunState; already: boolean }>(
    { op: 'cancel', run: runId, project, tree, grace: Math.ceil(grace / 1000) },
    { comment: `nx-ec2: cancel ${runId ?? project}`, signal, stillThere },
  );
  let { run } = asked;
  onAsked(run.id);
  if (!asked.already) reporter.line(`Asked ${run.id} to stop; it has ${formatDuration(grace)} before it is killed.`);
  for (let wait = 300; run.outcome === null; wait = Math.min(3_000, wait * 1.5)) {
    await pause(wait, signal);
    ({ run } = await remote.send<PollReply>(
      {
        op: 'poll',
        run: run.id,
        project,
        tree,
        cursor: { log: 'training', offset: Number.MAX_SAFE_INTEGER },
        overflow: null,
      },
      { comment: `nx-ec2: cancel ${run.id}`, signal, stillThere },
    ));
  }
  return { run, already: asked.already };
}
