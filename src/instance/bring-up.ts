import type { Aws } from '../aws/clients';
import type { Description } from '../config/description';
import { Problem } from '../report/problem';
import type { Reporter } from '../report/reporter';
import { printable } from '../report/terminal-text';
import type { StoreKeys } from '../store/keys';
import type { Store } from '../store/store';
import { generationOf, Launch, PATIENCE, type Patience } from './launch';
import { LaunchJournal } from './launch-journal';
import { ownInstances, type LivingInstance } from './living';
import { madeKey, TAG, type Owner } from './made';
import { readPriceTag, type Price } from './price';
import { start } from './start';
import { isRefusal, launchClaim, mismatch } from './stop/claim';
import { managedInstance } from './stop/managed';
import { terminate } from './stop/terminate';

export interface BringUp {
  aws: Aws;
  store: Store;
  keys: StoreKeys;
  /** The store's, as configured: for the tag. */
  prefix?: string;
  owner: Owner;
  description: Description;
  /** As configured, USD. */
  pricePerHour?: number;
  /** `remoteRoot`, as configured. */
  root?: string | null;
  by: 'remote-up' | 'remote-train';
  /** The run that it is made for. */
  run?: string;
  /** ms since the epoch: the run's, from its first instance; absent: this is the first. */
  deadline?: number;
  reporter: Reporter;
  signal?: AbortSignal;
  patience?: Partial<Patience>;
}

export interface BroughtUp {
  id: string;
  /** `found`: it was there, perhaps made for something else: its tags say what. */
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
 * The instance that is described: the one that lives, one that is stopped and is started, or one that is launched.
 * It can be interrupted anywhere and called again, and at once by several: there is one instance in the end.
 * Returns as soon as EC2 has it: `bringUpReady` waits for the rest.
 */
export async function bringUp(wish: BringUp): Promise<BroughtUp> {
  const { aws, owner, description, reporter, signal } = wish;
  const key = madeKey(owner, description);
  const own = await ownInstances(aws, owner, signal);
  const claim = launchClaim(wish);
  const isDescribed = ({ tags }: LivingInstance) => tags[TAG.key] === key && mismatch(tags, claim) === null;
  sayOthers(
    own.filter((each) => !isDescribed(each)),
    owner,
    reporter,
  );
  const [found] = await withoutTwins(wish, key, own.filter(isDescribed));
  if (found) return take(wish, found, 'found');
  const { how, instance } = await new Launch(wish, key, { ...PATIENCE, ...wish.patience }).run();
  return take(wish, instance, how);
}

async function take(
  wish: BringUp,
  { id, state, type, zone, market, tags }: LivingInstance,
  how: 'launched' | 'found',
): Promise<BroughtUp> {
  const { aws, reporter, signal } = wish;
  const where = `${id} (${type}${zone ? `, ${zone}` : ''})`;
  const stopped = state === 'stopped' || state === 'stopping';
  if (stopped) {
    const instance = await managedInstance(aws, id, launchClaim(wish), { signal });
    if (!instance) throw new Problem('INSTANCE_GONE', `${id} is terminated: it can not be started.`);
    await start(aws, instance, reporter, signal);
    reporter.line(`Started ${where}.`);
  } else reporter.line(how === 'launched' ? `Launched ${where}.` : `${where} is there: ${state}.`);
  const price = readPriceTag(tags[TAG.price] ?? '');
  const deadline = Number(tags[TAG.deadline]);
  return {
    ...{ id, type, zone, market, price, tags },
    how: stopped ? 'started' : how,
    deadline: deadline > 0 ? deadline : null,
  };
}

/**
 * Terminates, of several instances with one key, those that an abandoned attempt of the same launch has launched: the
 * client that should have done it was killed. The journal says which one is kept; EC2 must say that both were launched
 * by one launch (their client tokens) and for the same run.
 * @returns the others, the one that the journal names first, then those that run.
 */
async function withoutTwins(wish: BringUp, key: string, found: LivingInstance[]): Promise<LivingInstance[]> {
  if (found.length < 2) return found;
  const { aws, store, keys, reporter, signal } = wish;
  const state = (await new LaunchJournal(store, keys, key).read(signal))?.state;
  const named = found.find(({ id }) => id === state?.instance);
  const rest: LivingInstance[] = [];
  for (const each of found) {
    const twin = named && each !== named && isSameLaunch(each, named) && (await managedTwin(wish, each));
    if (!twin) rest.push(each);
    else {
      reporter.line(`Terminating ${each.id}: a duplicate from an earlier attempt of the launch of ${named.id}.`);
      await terminate(aws, twin, reporter, signal);
    }
  }
  const rank = (each: LivingInstance) => (each === named ? 0 : each.state === 'running' ? 1 : 2);
  rest.sort((a, b) => rank(a) - rank(b));
  if (rest.length > 1)
    reporter.warn(
      `Several instances are what is described: ${rest.map(({ id }) => id).join(', ')}. The first is taken.`,
    );
  return rest;
}

/** Whether EC2 says that two instances are of one launch, which needs one alone. */
function isSameLaunch(one: LivingInstance, other: LivingInstance): boolean {
  const launch = generationOf(one.clientToken);
  return launch !== null && launch === generationOf(other.clientToken) && one.tags[TAG.run] === other.tags[TAG.run];
}

/** null: it is gone, or it is not one that may be terminated from here. */
async function managedTwin(wish: BringUp, { id }: LivingInstance) {
  try {
    return await managedInstance(wish.aws, id, launchClaim(wish), { signal: wish.signal });
  } catch (error) {
    if (!isRefusal(error)) throw error;
    wish.reporter.warn(error.message);
    return null;
  }
}

/** What costs besides. */
function sayOthers(others: LivingInstance[], { project }: Owner, reporter: Reporter): void {
  if (!others.length) return;
  const words = others.map(({ id, type, state }) => `${id} (${type}, ${state})`);
  reporter.line(
    `Of ${printable(project)} there are others of yours, launched by another description or for another bucket or prefix: ${words.join(', ')}. nx run ${printable(project)}:remote-down ends them all.`,
  );
}
