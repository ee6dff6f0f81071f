import type { PollReply, RunFacts, RunReport, RunState } from '../../command/plan';
import { storeAccess } from '../../context/store-access';
import type { RunContext } from '../../context/types';

/** A form for uploads is signed again after this long, ms: it lives for an hour. */
export const FORM_AGE_MS = 30 * 60_000;

/** Asks EC2 alone whether the instance of a run is there. Throws INSTANCE_GONE. */
export async function assertThere(context: RunContext, run: Pick<RunFacts, 'instance'>): Promise<null> {
  await context.at(run.instance).assertInstanceExists();
  return null;
}

/** Asks the instance itself how a run goes, by a command: where the store has not been told. Throws INSTANCE_GONE. */
export async function pollRun(
  context: RunContext,
  run: Pick<RunFacts, 'id' | 'instance'>,
  offset: number,
  signal?: AbortSignal,
): Promise<PollReply> {
  await assertThere(context, run);
  return context
    .at(run.instance)
    .remote.send<PollReply>(
      { op: 'poll', run: run.id, offset },
      { comment: `nx-ec2: look at ${run.id}`, executionTimeout: 60, signal },
    );
}

/** Gives a run a new form for its way into the store, and has told there what was not told yet. */
export async function renewUploadForm(
  context: RunContext,
  run: Pick<RunFacts, 'id' | 'instance'>,
  signal?: AbortSignal,
): Promise<{ run: RunState; report: RunReport | null }> {
  const there = context.at(run.instance);
  return there.remote.send(
    { op: 'renew', run: run.id, store: await storeAccess(context, context.keys.run(run.id), true) },
    { comment: `nx-ec2: renew the access of ${run.id}`, executionTimeout: 60, signal },
  );
}
