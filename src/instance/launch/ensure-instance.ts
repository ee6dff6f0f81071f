import { Problem } from '../../report/problem';
import type { Printer } from '../../report/printer';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { Launch, LAUNCH_TIMEOUTS } from './launcher';
import { describeLimits, otherLimits } from './launch-limits';
import { generationOf, LaunchJournal } from './launch-journal';
import { listOwnedInstances, type InstanceInfo } from '../describe/describe-instances';
import { specHash, TAG, type Owner } from '../describe/ownership';
import { readPriceTag, type Price } from '../price/price';
import { start } from '../ready/start';
import { isRefusal, requiredTagsOf, mismatch } from '../stop/required-tags';
import { managedInstance } from '../stop/managed';
import { terminateAll } from '../stop/terminate';
import { byLaunchIndex, chooseSet } from './instance-set';
import type { EnsureOptions } from './options';
import { nxRun } from '../../report/shell-words';

export interface EnsuredInstance {
  id: string;
  /** `found`: it was running, perhaps launched for something else: its tags say what. */
  how: 'launched' | 'started' | 'found';
  type: string;
  zone: string | null;
  market: 'spot' | 'on-demand';
  /** At the launch; null: not known. */
  price: Price | null;
  /** ms since the epoch; null: it has none. */
  deadline: number | null;
  tags: Record<string, string>;
}

/**
 * Returns the instances of a launch spec: `count` that are used together, in the order of their launch. They are running
 * ones, stopped ones after their start, or new ones, which are launched all or none. Of some that exist already, the
 * missing ones are launched beside them. With `min`, fewer are enough: new ones are as many as EC2 has capacity for, and
 * where enough exist, none are launched; of these, the ones of `prefer` alone are used if they are enough.
 * It can be interrupted anywhere and called again, and at once by several: there is one set of instances in the end.
 * Returns as soon as EC2 has them: `ensureReady` waits for the rest.
 */
export async function ensureInstances(options: EnsureOptions): Promise<EnsuredInstance[]> {
  const { aws, owner, launchSpec, printer, signal, count = 1, min = count } = options;
  const key = specHash(owner, launchSpec, count, options.slot);
  const own = await listOwnedInstances(aws, owner, signal);
  const required = requiredTagsOf(options);
  const isMatch = ({ tags }: InstanceInfo) => tags[TAG.key] === key && mismatch(tags, required) === null;
  // The other members of a pool are meant to be there.
  const others = options.slot === undefined ? own.filter((each) => !isMatch(each)) : [];
  reportOtherInstances(others, owner, printer);
  const found = await terminateDuplicates(options, key, own.filter(isMatch));
  const preferred = options.prefer ? found.filter(({ id }) => options.prefer!.has(id)) : found;
  const enough = preferred.length >= min ? preferred : found;
  if (enough.length >= min) return takeAll(options, enough, new Set());
  const launch = await new Launch(options, key, { ...LAUNCH_TIMEOUTS, ...options.timeouts }).run();
  const launched = launch.instances.filter(({ id }) => launch.how === 'launched' && !launch.kept.has(id));
  return takeAll(options, launch.instances, new Set(launched.map(({ id }) => id)));
}

/** `ensureInstances` for one. */
export async function ensureInstance(options: Omit<EnsureOptions, 'count'>): Promise<EnsuredInstance> {
  return (await ensureInstances({ ...options, count: 1 }))[0];
}

/** @param launched the ids of new ones. */
async function takeAll(
  options: EnsureOptions,
  instances: InstanceInfo[],
  launched: ReadonlySet<string>,
): Promise<EnsuredInstance[]> {
  const ordered = [...instances].sort(byLaunchIndex);
  const [one, ...others] = ordered.filter(({ id }) => launched.has(id));
  if (one) {
    const where = `${one.type}${one.zone ? `, ${one.zone}` : ''}`;
    const ids = [one, ...others].map(({ id }) => id);
    const what = others.length ? `${ids.length} instances (${where}): ${ids.join(', ')}` : `${one.id} (${where})`;
    const { count = 1 } = options;
    const of = ordered.length < count ? ` EC2 had capacity for ${ordered.length} of ${count}.` : '';
    options.printer.line(`Launched ${what}.${of}`);
  }
  return Promise.all(ordered.map((each) => take(options, each, launched.has(each.id) ? 'launched' : 'found')));
}

async function take(
  options: EnsureOptions,
  { id, state, type, zone, market, tags, launchedAt }: InstanceInfo,
  how: 'launched' | 'found',
): Promise<EnsuredInstance> {
  const { aws, printer, signal } = options;
  const stopped = state === 'stopped' || state === 'stopping';
  if (stopped) {
    const instance = await managedInstance(aws, id, requiredTagsOf(options), { signal });
    if (!instance) throw new Problem('INSTANCE_GONE', `${id} is terminated: it can't be started.`);
    await start(aws, instance, printer, signal);
  }
  if (how === 'found') {
    const where = `${id} (${type}${zone ? `, ${zone}` : ''})`;
    const now = Date.now() + (await aws.clockOffset());
    const limits = describeLimits({ tags, launchedAt: stopped ? now : launchedAt }, now);
    printer.line(`${stopped ? `Started ${where}.` : `Using ${where}: ${state}.`}${limits}`);
    warnOtherLimits(options, id, tags);
  }
  const price = readPriceTag(tags[TAG.price] ?? '');
  const deadline = Number(tags[TAG.deadline]);
  return {
    id,
    type,
    zone,
    market,
    price,
    tags,
    how: stopped ? 'started' : how,
    deadline: deadline > 0 ? deadline : null,
  };
}

/** The watchdog has the limits of the launch: another configuration changes nothing about an instance that exists. */
function warnOtherLimits(
  { launchSpec, owner, printer, count }: EnsureOptions,
  id: string,
  tags: Record<string, string>,
): void {
  const others = otherLimits(tags, launchSpec, count);
  if (!others.length) return;
  printer.warn(
    `${id} keeps the limits with which it was launched: ${others.join('; ')}. To apply those of the configuration, terminate it, and run this command again: ${nxRun(owner.project, 'remote-down')}`,
  );
}

/**
 * Terminates, of more instances with one key than are needed, those that an abandoned attempt of the same launch has
 * launched: the client that should have done it was killed. The journal says which are kept, if enough of them live.
 * Anybody who can write to the bucket may have written it, so EC2 must say that all were launched by one launch (their
 * client tokens) and for the same run, and the instances that nothing runs there.
 * @returns those to use, which may be too few.
 */
async function terminateDuplicates(
  options: EnsureOptions,
  key: string,
  found: InstanceInfo[],
): Promise<InstanceInfo[]> {
  const { store, keys, printer, signal, count = 1 } = options;
  if (found.length < 2) return found;
  const chosen = chooseSet(found, count);
  if (chosen.length === found.length) return chosen;
  const named = new Set((await new LaunchJournal(store, keys, key).read(signal))?.state?.instances);
  const rank = ({ id, state }: InstanceInfo) => (named.has(id) ? 0 : state === 'running' ? 1 : 2);
  const preferred = [...found].sort((a, b) => rank(a) - rank(b));
  const kept = chooseSet(preferred, count);
  const isKnown = found.some(({ id }) => named.has(id));
  const twins = isKnown
    ? found.filter((each) => !kept.includes(each) && kept.some((one) => isSameLaunch(each, one)))
    : [];
  const gone: InstanceInfo[] = [];
  for (const attempt of byToken(twins)) if (await terminateAttempt(options, attempt, kept)) gone.push(...attempt);
  const rest = preferred.filter((each) => !gone.includes(each));
  if (rest.length > kept.length)
    printer.warn(
      `Several instances match the launch spec: ${listIds(rest)}. Using ${count > 1 ? listIds(kept) : 'the first one'}.`,
    );
  return kept;
}

/** What one attempt launched is terminated together, or not at all. */
function byToken(instances: InstanceInfo[]): InstanceInfo[][] {
  const attempts = new Map<string | null, InstanceInfo[]>();
  for (const each of instances) attempts.set(each.clientToken, [...(attempts.get(each.clientToken) ?? []), each]);
  return [...attempts.values()];
}

/** @returns whether it was terminated: nothing runs there, and all may be. */
async function terminateAttempt(
  options: EnsureOptions,
  attempt: InstanceInfo[],
  kept: InstanceInfo[],
): Promise<boolean> {
  const { aws, printer, signal } = options;
  const twins = await Promise.all(attempt.map((each) => managedTwin(options, each)));
  if (twins.some((twin) => twin === null)) return false;
  const isBusy = async ({ id, state }: InstanceInfo) => !/^stopp/.test(state) && !(await options.isIdle(id));
  const busy = await Promise.all(attempt.map(isBusy));
  if (busy.includes(true)) {
    const which = attempt.filter((_, n) => busy[n]);
    printer.warn(
      `${listIds(attempt)} ${attempt.length > 1 ? 'are' : 'is'} kept: ${attempt.length > 1 ? listIds(which) : 'it'} is in use, or does not report its activity.`,
    );
    return false;
  }
  const what = attempt.length > 1 ? 'duplicates' : 'a duplicate';
  printer.line(`Terminating ${listIds(attempt)}: ${what} from an earlier attempt of the launch of ${listIds(kept)}.`);
  await terminateAll(
    aws,
    twins.flatMap((twin) => twin ?? []),
    printer,
    signal,
  );
  return true;
}

function listIds(instances: InstanceInfo[]): string {
  return instances.map(({ id }) => id).join(', ');
}

/** Whether EC2 says that two instances are of one launch. */
function isSameLaunch(one: InstanceInfo, other: InstanceInfo): boolean {
  const launch = generationOf(one.clientToken);
  return launch !== null && launch === generationOf(other.clientToken) && one.tags[TAG.run] === other.tags[TAG.run];
}

/** null: it is gone, or it is not one that may be terminated from here. */
async function managedTwin(options: EnsureOptions, { id }: InstanceInfo) {
  try {
    return await managedInstance(options.aws, id, requiredTagsOf(options), { signal: options.signal });
  } catch (error) {
    if (!isRefusal(error)) throw error;
    options.printer.warn(error.message);
    return null;
  }
}

/** Names other instances that cost money. */
function reportOtherInstances(others: InstanceInfo[], { project }: Owner, printer: Printer): void {
  if (!others.length) return;
  const words = others.map(({ id, type, state }) => `${id} (${type}, ${state})`);
  printer.line(
    `You have other instances of ${sanitizeForTerminal(project)}, launched with another launch spec, bucket or prefix: ${words.join(', ')}. To terminate them all: ${nxRun(project, 'remote-down')}`,
  );
}
