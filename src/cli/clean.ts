import type { Inventory } from '../instance/inventory/inventory';
import { isLaunchedBy } from '../instance/inventory/listing';
import { isPastItsTime, findExpired, type RunStates, type ExpiredResource } from '../instance/inventory/expired';
import { terminateExpired, type Ended } from '../instance/stop/terminate-expired';
import { readTags } from '../instance/describe/tags';
import { Problem } from '../report/problem';
import { Printer } from '../report/printer';
import { sanitizeForTerminal } from '../report/terminal-text';
import { formatCount } from '../report/units';
import { askActivity } from '../run/follow/ask-activity';
import { readRunStates } from '../run/find/run-states';
import { table } from '../report/table';
import { callerName } from '../run/status/status';
import { Store } from '../store/store';
import { withAccount, type Account, type AccountOptions } from './account';
import { reportOutcome } from './outcome';

export interface CleanOptions extends AccountOptions {
  apply?: boolean;
  all?: boolean;
  verbose?: boolean;
  json?: boolean;
}

/** Time limit for instances to stop or terminate, ms. */
const STOP_TIMEOUT_MS = 3 * 60_000;

/** Shows the expired resources that nx-ec2 launched; with `apply`, terminates, stops or deletes them. */
export async function clean(options: CleanOptions, printer = new Printer(options)): Promise<void> {
  await reportOutcome(printer, () =>
    withAccount(options, async (account) => {
      const { aws, region, caller, inventory } = account;
      const chosen = (late: ExpiredResource[]) =>
        options.all ? late : late.filter(({ made }) => isLaunchedBy(made, caller));
      const { findLate, notes } = await expiryCheck(account, chosen, printer);
      const late = findLate(inventory);
      const mine = chosen(late);
      const others = late.length - mine.length;
      if (mine.length) printer.line(table([HEAD, ...mine.map(row)]));
      else printer.line(`No resource${options.all ? '' : ' of yours'} in ${region} has expired.`);
      for (const line of notes) printer.line(line);
      if (others)
        printer.line(`${formatCount(others, 'expired resource')} of other users left alone. To include them: --all`);
      if (!options.apply) {
        if (mine.length) printer.line('Nothing was changed. To clean up: --apply');
        return { region, applied: false, expired: mine.map(told), others };
      }
      const ended = await terminateExpired(aws, mine, { findExpired: findLate, timeout: STOP_TIMEOUT_MS, printer });
      for (const each of ended) printer.line(describe(each));
      const failed = ended.filter(({ result }) => result === 'failed');
      const results = ended.map((each) => ({ ...told(each), result: each.result, problem: each.problem }));
      if (failed.length)
        throw Object.assign(
          new Problem(
            'CLEAN',
            `${failed.length} of ${formatCount(ended.length, 'resource')} could not be cleaned up.`,
            {
              next: 'The reasons are above; the others were cleaned up.',
            },
          ),
          { result: { region, applied: true, expired: results, others } },
        );
      return { region, applied: true, expired: results, others };
    }),
  );
}

/**
 * Decides which resources of an inventory are expired. The store alone is not trusted. If it says that the run of an
 * instance has ended, and the instance is within its lifetime and deadline, the instance is asked whether anything runs
 * there. An instance past its lifetime or deadline is asked whatever the store says, and terminated if it does not
 * answer.
 * @param chosen selects those to clean up: only they are asked. @returns also lines about instances that are kept.
 */
async function expiryCheck(
  { place, aws, inventory, now }: Account,
  chosen: (late: ExpiredResource[]) => ExpiredResource[],
  printer: Printer,
): Promise<{ findLate: (inventory: Inventory) => ExpiredResource[]; notes: string[] }> {
  const { bucket, prefix } = place;
  if (bucket === undefined) {
    printer.warn("No bucket is configured, so runs can't be checked: only lifetimes and deadlines count.");
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
  const answer = reason ?? 'it has no instance that could be asked';
  return sanitizeForTerminal(
    isTime
      ? `Kept the ${kind} ${id}, ${why}: ${answer}.`
      : `Kept the ${kind} ${id} until its lifetime or deadline: the store says "${why}", but ${answer}.`,
  );
}

const HEAD = ['WHAT', 'ID', 'OWNER', 'PROJECT', 'RUN', 'WHY'];

function row({ kind, id, made, why, how }: ExpiredResource): string[] {
  const { owner, project, run } = readTags(made.tags);
  return [
    kind,
    id,
    owner === null ? '?' : callerName(owner),
    project ?? '?',
    run ?? '',
    how === 'stop' ? `${why}; to be stopped, its disk is kept` : why,
  ];
}

function told({ kind, id, made, why, how }: ExpiredResource): object {
  const { owner, project, run } = readTags(made.tags);
  return { kind, id, owner, project, run, why, how };
}

const CLEANED: Record<ExpiredResource['kind'], string> = {
  instance: 'terminated',
  fleet: 'deleted',
  'launch template': 'deleted',
  'spot request': 'cancelled',
  volume: 'deleted',
  'placement group': 'deleted',
};

function describe({ kind, id, how, result, problem }: Ended): string {
  const what = `The ${kind} ${sanitizeForTerminal(id)}`;
  if (result === 'failed') return sanitizeForTerminal(problem ?? `${what} could not be cleaned up.`);
  const verb = how === 'stop' ? 'stopped' : CLEANED[kind];
  return result === 'ended' ? `${what} was ${verb}.` : `${what} is being ${verb}: EC2 did not finish within 3 minutes.`;
}
