import type { Inventory } from '../instance/inventory/inventory';
import { isMine } from '../instance/inventory/listing';
import { isPastItsTime, findExpired, type RunStates, type ExpiredResource } from '../instance/inventory/expired';
import { terminateExpired, type Ended } from '../instance/stop/terminate-expired';
import { readTags } from '../instance/describe/tags';
import { Problem } from '../report/problem';
import { Reporter } from '../report/reporter';
import { sanitizeForTerminal } from '../report/terminal-text';
import { askActivity } from '../run/follow/ask-activity';
import { readRunStates } from '../run/find/run-states';
import { nameOf, table } from '../run/status/status';
import { Store } from '../store/store';
import { withAccount, type Account, type AccountOptions } from './account';
import { reportOutcome } from './outcome';

export interface CleanOptions extends AccountOptions {
  apply?: boolean;
  all?: boolean;
  verbose?: boolean;
  json?: boolean;
}

/** Instances are waited for so long until they have ended, ms. */
const STOP_TIMEOUT_MS = 3 * 60_000;

/** Shows what of that which nx-ec2 has made should have ended, and ends it where it is to. */
export async function clean(options: CleanOptions, reporter = new Reporter(options)): Promise<void> {
  await reportOutcome(reporter, () =>
    withAccount(options, async (account) => {
      const { aws, region, caller, inventory } = account;
      const chosen = (late: ExpiredResource[]) =>
        options.all ? late : late.filter(({ made }) => isMine(made, caller));
      const { findLate, notes } = await expiryCheck(account, chosen, reporter);
      const late = findLate(inventory);
      const mine = chosen(late);
      const others = late.length - mine.length;
      if (mine.length) reporter.line(table([HEAD, ...mine.map(row)]));
      else reporter.line(`Nothing${options.all ? '' : ' of yours'} in ${region} should have ended.`);
      for (const line of notes) reporter.line(line);
      if (others) reporter.line(`Of others: ${others}, left alone; --all names and ends them too.`);
      if (!options.apply) {
        if (mine.length) reporter.line('Nothing was changed: --apply ends it.');
        return { region, applied: false, expired: mine.map(told), others };
      }
      const ended = await terminateExpired(aws, mine, { findExpired: findLate, timeout: STOP_TIMEOUT_MS, reporter });
      for (const each of ended) reporter.line(describe(each));
      const failed = ended.filter(({ result }) => result === 'failed');
      const results = ended.map((each) => ({ ...told(each), result: each.result, problem: each.problem }));
      if (failed.length)
        throw Object.assign(
          new Problem('CLEAN', `${failed.length} of ${ended.length} could not be ended.`, {
            next: 'The reasons are above; the others were ended.',
          }),
          { result: { region, applied: true, expired: results, others } },
        );
      return { region, applied: true, expired: results, others };
    }),
  );
}

/**
 * Decides what of an inventory is expired. The store alone ends nothing: an instance that is within its own times and
 * whose run has ended, as the store says, is asked whether anything runs there. Nor does it alone keep what is past its
 * times: such an instance is asked as well, and ended if it does not answer.
 * @param chosen those that are ended: only they are asked. @returns also what instances say that is to be known.
 */
async function expiryCheck(
  { place, aws, inventory, now }: Account,
  chosen: (late: ExpiredResource[]) => ExpiredResource[],
  reporter: Reporter,
): Promise<{ findLate: (inventory: Inventory) => ExpiredResource[]; notes: string[] }> {
  const { bucket, prefix } = place;
  if (bucket === undefined) {
    reporter.warn('No bucket is named: resources with a run are judged by their age and lifetime only.');
    return {
      findLate: (found) => findExpired(found, { tagged: () => null, on: () => [], says: () => null }, now),
      notes: [],
    };
  }
  const store = new Store(aws, { ...place, bucket });
  const states = await readRunStates(store, prefix, inventory);
  const expiredIf = (says: RunStates['says']) => (found: Inventory) => findExpired(found, { ...states, says }, now);
  const certain = new Set(expiredIf(() => 'busy')(inventory).map(({ id }) => id));
  const asked = chosen(expiredIf(() => 'idle')(inventory)).filter(
    ({ kind, id }) => (kind === 'instance' || kind === 'fleet') && !certain.has(id),
  );
  const instances = inventory.instances.filter(({ id, fleet }) =>
    asked.some((each) => each.id === id || (fleet !== null && each.id === fleet)),
  );
  const answers = await askActivity(aws, store, prefix, instances);
  const findLate = expiredIf((id) => answers.get(id)?.says ?? null);
  const ends = new Set(findLate(inventory).map(({ id }) => id));
  return {
    findLate,
    notes: asked.flatMap((each) => {
      const own = instances.filter(({ id, fleet }) => id === each.id || fleet === each.id);
      const said = own.flatMap(({ id }) => answers.get(id) ?? []);
      const reason = (said.find(({ says }) => says === 'busy') ?? said.find(({ says }) => says === null))?.reason;
      if (!ends.has(each.id)) return [keptLine(each, isPastItsTime(each, now), reason)];
      return reason === undefined
        ? []
        : [sanitizeForTerminal(`The ${each.kind} ${each.id} is ${each.why}, and ${reason}.`)];
    }),
  };
}

function keptLine({ kind, id, why }: ExpiredResource, isTime: boolean, reason?: string): string {
  const answer = reason ?? 'no instance of it can be asked';
  return sanitizeForTerminal(
    isTime
      ? `Kept the ${kind} ${id}, ${why}: ${answer}.`
      : `Kept the ${kind} ${id} until its lifetime or deadline: ${why}, as the store says, but ${answer}.`,
  );
}

const HEAD = ['WHAT', 'ID', 'OWNER', 'PROJECT', 'RUN', 'WHY'];

function row({ kind, id, made, why, how }: ExpiredResource): string[] {
  const { owner, project, run } = readTags(made.tags);
  return [
    kind,
    id,
    owner === null ? '?' : nameOf(owner),
    project ?? '?',
    run ?? '',
    how === 'stop' ? `${why}: is stopped, its disk stays` : why,
  ];
}

function told({ kind, id, made, why, how }: ExpiredResource): object {
  const { owner, project, run } = readTags(made.tags);
  return { kind, id, owner, project, run, why, how };
}

function describe({ kind, id, how, result, problem }: Ended): string {
  const what = `The ${kind} ${sanitizeForTerminal(id)}`;
  if (result === 'failed') return sanitizeForTerminal(problem ?? `${what} could not be ended.`);
  const [has, is] = how === 'stop' ? ['is stopped', 'being stopped'] : ['has ended', 'being ended'];
  return result === 'ended' ? `${what} ${has}.` : `${what} is ${is}: EC2 had not done it within 3 minutes.`;
}
