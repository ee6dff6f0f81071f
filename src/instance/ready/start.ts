import type { Aws } from '../../aws/clients';
import { awsProblem } from '../../aws/reason';
import { sleep } from '../../system/sleep';
import { Problem } from '../../report/problem';
import type { Printer } from '../../report/printer';
import type { NamedInstance } from '../describe/find';
import { describeInstance, type InstanceInfo } from '../describe/describe-instances';
import { waitReady } from './wait-ready';
import { userInstance, type ManagedInstance, type UserInstance } from '../stop/managed';
import { requestStart } from '../stop/terminate';
import { Waiting } from '../describe/wait-message';
import { steadyNow } from '../../system/moment';

const START_POLL_MS = 2_000;
/** What EC2 tells may be older than what it answered, ms. */
const EC2_LAG_MS = 30_000;

/** Starts an instance that is stopped, or about to be. @throws Problem where EC2 does not. */
export async function start(
  aws: Aws,
  instance: ManagedInstance | UserInstance,
  printer: Printer,
  signal?: AbortSignal,
): Promise<void> {
  const { id } = instance;
  const waiting = new Waiting(printer, `${id} is stopping; starting it after that`);
  try {
    for (let state = ''; state !== 'stopped';) {
      state = (await describeInstance(aws, id, signal))?.state ?? 'terminated';
      if (state === 'running' || state === 'pending') return;
      if (state !== 'stopped' && state !== 'stopping')
        throw new Problem('INSTANCE_GONE', `${id} is ${state}: it can't be started.`);
      if (state === 'stopping') {
        waiting.say();
        await sleep(START_POLL_MS / 2, signal);
      }
    }
  } finally {
    waiting.end();
  }
  try {
    await requestStart(aws, instance, signal);
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw awsProblem(
      'INSTANCE_START',
      `Could not start ${id}.`,
      error,
      /^Insufficient/.test((error as Error).name)
        ? 'Its zone has no capacity at the moment, and an instance stays in its zone. Try again later, or terminate it (remote-down) to launch another one elsewhere.'
        : undefined,
    );
  }
  // What EC2 tells of it may be a moment old.
  for (const until = steadyNow() + EC2_LAG_MS; steadyNow() < until; await sleep(START_POLL_MS / 4, signal))
    if ((await describeInstance(aws, id, signal))?.state !== 'stopped') return;
}

type Started = InstanceInfo & { how: 'started' | 'found' };

/** The instances that are named, started where they are stopped. Returns when all can be used. @param wait ms */
export function startNamed(
  aws: Aws,
  names: readonly NamedInstance[],
  wait: number,
  printer: Printer,
  signal?: AbortSignal,
): Promise<Started[]> {
  return Promise.all(names.map((name) => startOne(aws, name, wait, printer, signal)));
}

async function startOne(
  aws: Aws,
  name: NamedInstance,
  wait: number,
  printer: Printer,
  signal?: AbortSignal,
): Promise<Started> {
  const instance = await userInstance(aws, name, signal);
  const { id, state } = instance;
  const stopped = state === 'stopped' || state === 'stopping';
  if (!stopped && state !== 'running' && state !== 'pending')
    throw new Problem('INSTANCE_GONE', `${id} is ${state}.`, { next: 'Name another instance, or a launch spec.' });
  if (stopped) await start(aws, instance, printer, signal);
  printer.line(stopped ? `Started ${id}.` : `Using ${id}: ${state}.`);
  await waitReady(aws, id, wait, printer, signal);
  return { ...(await describeInstance(aws, id, signal))!, how: stopped ? 'started' : 'found' };
}
