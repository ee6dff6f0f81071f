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
import { terminate } from '../stop/terminate';
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
 * Returns the instance of a launch spec: a running one, a stopped one after its start, or a new one.
 * It can be interrupted anywhere and called again, and at once by several: there is one instance in the end.
 * Returns as soon as EC2 has it: `ensureReady` waits for the rest.
 */
export async function ensureInstance(options: EnsureOptions): Promise<EnsuredInstance> {
  const { aws, owner, launchSpec, printer, signal } = options;
  const key = specHash(owner, launchSpec);
  const own = await listOwnedInstances(aws, owner, signal);
  const required = requiredTagsOf(options);
  const isMatch = ({ tags }: InstanceInfo) => tags[TAG.key] === key && mismatch(tags, required) === null;
  reportOtherInstances(
    own.filter((each) => !isMatch(each)),
    owner,
    printer,
  );
  const [found] = await terminateDuplicates(options, key, own.filter(isMatch));
  if (found) return take(options, found, 'found');
  const { how, instance } = await new Launch(options, key, { ...LAUNCH_TIMEOUTS, ...options.timeouts }).run();
  return take(options, instance, how);
}

async function take(
  options: EnsureOptions,
  { id, state, type, zone, market, tags, launchedAt }: InstanceInfo,
  how: 'launched' | 'found',
): Promise<EnsuredInstance> {
  const { aws, printer, signal } = options;
  const where = `${id} (${type}${zone ? `, ${zone}` : ''})`;
  const stopped = state === 'stopped' || state === 'stopping';
  if (stopped) {
    const instance = await managedInstance(aws, id, requiredTagsOf(options), { signal });
    if (!instance) throw new Problem('INSTANCE_GONE', `${id} is terminated: it can't be started.`);
    await start(aws, instance, printer, signal);
  }
  if (how === 'launched') printer.line(`Launched ${where}.`);
  else {
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
  { launchSpec, owner, printer }: EnsureOptions,
  id: string,
  tags: Record<string, string>,
): void {
  const others = otherLimits(tags, launchSpec);
  if (!others.length) return;
  printer.warn(
    `${id} keeps the limits with which it was launched: ${others.join('; ')}. To apply those of the configuration, terminate it, and run this command again: ${nxRun(owner.project, 'remote-down')}`,
  );
}

/**
 * Terminates, of several instances with one key, those that an abandoned attempt of the same launch has launched: the
 * client that should have done it was killed. The journal says which one is kept. Anybody who can write to the bucket may
 * have written it, so EC2 must say that both were launched by one launch (their client tokens) and for the same run, and
 * the instance that nothing runs there.
 * @returns the others, the one that the journal names first, then those that run.
 */
async function terminateDuplicates(
  options: EnsureOptions,
  key: string,
  found: InstanceInfo[],
): Promise<InstanceInfo[]> {
  if (found.length < 2) return found;
  const { aws, store, keys, printer, signal } = options;
  const state = (await new LaunchJournal(store, keys, key).read(signal))?.state;
  const named = found.find(({ id }) => id === state?.instance);
  const rest: InstanceInfo[] = [];
  for (const each of found) {
    const twin = named && each !== named && isSameLaunch(each, named) && (await managedTwin(options, each));
    const isBusy = twin && !/^stopp/.test(each.state) && !(await options.isIdle(each.id));
    if (isBusy) printer.warn(`${each.id} is kept: it is in use, or does not report its activity.`);
    if (!twin || isBusy) rest.push(each);
    else {
      printer.line(`Terminating ${each.id}: a duplicate from an earlier attempt of the launch of ${named.id}.`);
      await terminate(aws, twin, printer, signal);
    }
  }
  const rank = (each: InstanceInfo) => (each === named ? 0 : each.state === 'running' ? 1 : 2);
  rest.sort((a, b) => rank(a) - rank(b));
  if (rest.length > 1)
    printer.warn(
      `Several instances match the launch spec: ${rest.map(({ id }) => id).join(', ')}. Using the first one.`,
    );
  return rest;
}

/** Whether EC2 says that two instances are of one launch, which needs one alone. */
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
