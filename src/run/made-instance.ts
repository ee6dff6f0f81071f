import type { Description } from '../config/description';
import type { BringUp, BroughtUp } from '../instance/bring-up';
import { bringUpReady } from '../instance/bring-up-ready';
import { isLiving, lookAt } from '../instance/living';
import { TAG } from '../instance/made';
import { readTags } from '../instance/tags';
import { takeDown } from '../instance/take-down';
import { Waiting } from '../instance/waiting';
import { pause } from '../command/run-command';
import { formatDuration } from '../report/units';
import { goesOn } from './find-run';
import type { RunRecord } from './record';
import type { RunsSession } from './session';
import { runsUnderWay } from './under-way';

/** How long an instance may take to end itself after its run, ms, before it is ended from here. */
const BY_ITSELF = 120_000;
const POLL = 1_000;

/**
 * Brings up the instance that a project describes, and waits until it can be used.
 * @param purpose what it is for. @param onUp as soon as EC2 has it.
 */
export async function bringUpDescribed(
  session: RunsSession,
  description: Description,
  purpose: Pick<BringUp, 'by' | 'run' | 'deadline'>,
  signal: AbortSignal,
  onUp?: (instance: BroughtUp) => void,
): Promise<BroughtUp> {
  const { aws, store, keys, reporter, configuration } = session;
  const { prefix, pricePerHour, remoteRoot: root, instance } = configuration;
  const wish = { aws, store, keys, prefix, pricePerHour, root, reporter, signal, description, ...purpose };
  return bringUpReady({ ...wish, owner: await session.owner() }, instance.wait, onUp);
}

/**
 * Makes the instance that a run is to train on, or finds the one that was made, and waits until it can be used. One
 * that this call has made and that can't be used is ended.
 * @param onUp as soon as EC2 has it.
 */
export async function makeInstance(
  session: RunsSession,
  description: Description,
  { id, deadline }: { id: string; deadline?: number },
  onUp: (instance: BroughtUp) => void,
  signal: AbortSignal,
): Promise<BroughtUp> {
  const purpose = { by: 'remote-train', run: id, deadline } as const;
  let up: BroughtUp | undefined;
  try {
    return await bringUpDescribed(session, description, purpose, signal, (instance) => onUp((up = instance)));
  } catch (error) {
    if (up) await giveUp(session, up, signal);
    throw error;
  }
}

/** Ends an instance that was made for a training which can't begin; one that was left by a signal has its guards. */
export async function giveUp({ aws, reporter }: RunsSession, instance: BroughtUp, signal: AbortSignal): Promise<void> {
  if (signal.aborted || instance.how !== 'launched') return;
  reporter.line(`${instance.id} was made for this training, which does not begin: it is ended.`);
  await takeDown(aws, instance.id, 'terminate', reporter).catch((error: Error) =>
    reporter.warn(`${instance.id} could not be ended: ${error.message}`),
  );
}

/**
 * What becomes of a run's instance, where it was made for a training: said, and waited for where that is soon. It ends
 * itself; where it does not, it is ended from here.
 */
export async function seeOff(session: RunsSession, run: RunRecord, signal: AbortSignal): Promise<void> {
  const { aws, reporter } = session;
  const instance = await lookAt(aws, run.instance, signal);
  if (!instance || !isLiving(instance) || instance.tags[TAG.managed] !== 'true') return;
  const { finish } = readTags(instance.tags);
  if (!finish) return;
  const { id } = instance;
  const after = run.outcome === 'succeeded' ? finish.success : finish.failure;
  const down = `nx run ${session.project}:remote-down ends it now.`;
  if (after === null) return reporter.line(`${id} is kept, until one of its guards ends it. ${down}`);
  const done = finish.shutdown === 'stop' ? 'stopped' : 'terminated';
  if (after > 0) return reporter.line(`${id} is kept for ${formatDuration(after)}, and then ${done}. ${down}`);
  const waiting = new Waiting(reporter, `${id} is being ${done}`);
  try {
    for (const until = Date.now() + BY_ITSELF; Date.now() < until; await pause(POLL, signal)) {
      const now = await lookAt(aws, id, signal);
      if (!now || !isLiving(now) || now.state === 'stopped') return reporter.line(`${id} is ${now?.state ?? done}.`);
      const other = now.state === 'running' ? await otherRun(session, run) : null;
      if (other) return reporter.line(`${id} is kept as long as ${other} goes on there.`);
    }
  } finally {
    waiting.end();
  }
  reporter.warn(`${id} has not ended by itself within ${formatDuration(BY_ITSELF)}: it is ended from here.`);
  await takeDown(aws, id, finish.shutdown, reporter, signal);
}

/** Another run of the project that goes on on the same instance. */
async function otherRun({ store, keys }: RunsSession, { id, instance }: RunRecord): Promise<string | null> {
  const { runs, unverified } = await runsUnderWay(store, keys, new Set([instance]));
  const others = [...runs.filter(goesOn).map(({ record }) => record.id), ...unverified.map((each) => each.id)];
  return others.find((each) => each !== id) ?? null;
}
