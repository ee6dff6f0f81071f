import type { Inventory } from '../instance/inventory';
import { isMine } from '../instance/listing';
import { overdue, type Fates, type Overdue } from '../instance/overdue';
import { terminateExpired, type Ended } from '../instance/stop/terminate-expired';
import { readTags } from '../instance/tags';
import { Problem } from '../report/problem';
import { Reporter } from '../report/reporter';
import { printable } from '../report/terminal-text';
import { askActivity, type Activity } from '../run/ask-activity';
import { readFates } from '../run/fates';
import { nameOf, table } from '../run/status';
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
const WAIT = 3 * 60_000;

/** Shows what of that which nx-ec2 has made should have ended, and ends it where it is to. */
export async function clean(options: CleanOptions, reporter = new Reporter(options)): Promise<void> {
  await reportOutcome(reporter, () =>
    withAccount(options, async (account) => {
      const { aws, region, caller, inventory } = account;
      const chosen = (late: Overdue[]) => (options.all ? late : late.filter(({ made }) => isMine(made, caller)));
      const { judge, kept } = await judgeOf(account, chosen, reporter);
      const late = judge(inventory);
      const mine = chosen(late);
      const others = late.length - mine.length;
      if (mine.length) reporter.line(table([HEAD, ...mine.map(row)]));
      else reporter.line(`Nothing${options.all ? '' : ' of yours'} in ${region} should have ended.`);
      for (const line of kept) reporter.line(line);
      if (others) reporter.line(`Of others: ${others}, left alone; --all names and ends them too.`);
      if (!options.apply) {
        if (mine.length) reporter.line('Nothing was changed: --apply ends it.');
        return { region, applied: false, overdue: mine.map(told), others };
      }
      const ended = await terminateExpired(aws, mine, judge, WAIT, reporter);
      for (const each of ended) reporter.line(describe(each));
      const failed = ended.filter(({ result }) => result === 'failed');
      const results = ended.map((each) => ({ ...told(each), result: each.result, problem: each.problem }));
      if (failed.length)
        throw Object.assign(
          new Problem('CLEAN', `${failed.length} of ${ended.length} could not be ended.`, {
            next: 'The reasons are above; the rest has ended.',
          }),
          { result: { region, applied: true, overdue: results, others } },
        );
      return { region, applied: true, overdue: results, others };
    }),
  );
}

/**
 * Decides what of an inventory is expired. The store alone ends nothing: an instance that is within its own times and
 * whose run has ended, as the store says, is asked whether anything runs there.
 * @param chosen those that are ended: only they are asked. @returns also what is kept since an instance says so.
 */
async function judgeOf(
  { place, aws, inventory, now }: Account,
  chosen: (late: Overdue[]) => Overdue[],
  reporter: Reporter,
): Promise<{ judge: (inventory: Inventory) => Overdue[]; kept: string[] }> {
  const { bucket, prefix } = place;
  if (bucket === undefined) {
    reporter.warn('No bucket is named: what has a run is looked at by its times alone.');
    return {
      judge: (found) => overdue(found, { tagged: () => null, on: () => [], isIdle: () => false }, now),
      kept: [],
    };
  }
  const store = new Store(aws, { ...place, bucket });
  const fates = await readFates(store, prefix, inventory);
  const judgeBy = (isIdle: Fates['isIdle']) => (found: Inventory) => overdue(found, { ...fates, isIdle }, now);
  const certain = new Set(judgeBy(() => false)(inventory).map(({ id }) => id));
  const asked = chosen(judgeBy(() => true)(inventory)).filter(
    ({ kind, id }) => (kind === 'instance' || kind === 'fleet') && !certain.has(id),
  );
  const instances = inventory.instances.filter(({ id, fleet }) =>
    asked.some((each) => each.id === id || (fleet !== null && each.id === fleet)),
  );
  const answers = await askActivity(aws, store, prefix, instances);
  return {
    judge: judgeBy((id) => answers.get(id) === null),
    kept: asked.flatMap(({ kind, id, why }) => {
      const own = instances.filter((each) => each.id === id || each.fleet === id);
      const reason = own.map((each) => answers.get(each.id)).find((said): said is string => said !== null);
      return reason === undefined && own.length ? [] : [keptLine(kind, id, why, reason ?? null)];
    }),
  };
}

function keptLine(kind: string, id: string, why: string, reason: Activity): string {
  return printable(
    `Kept the ${kind} ${id} until its lifetime or deadline: ${why}, as the store says, but ${reason ?? 'no instance of it can be asked'}.`,
  );
}

const HEAD = ['WHAT', 'ID', 'OWNER', 'PROJECT', 'RUN', 'WHY'];

function row({ kind, id, made, why, how }: Overdue): string[] {
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

function told({ kind, id, made, why, how }: Overdue): object {
  const { owner, project, run } = readTags(made.tags);
  return { kind, id, owner, project, run, why, how };
}

function describe({ kind, id, how, result, problem }: Ended): string {
  const what = `The ${kind} ${printable(id)}`;
  if (result === 'failed') return printable(problem ?? `${what} could not be ended.`);
  const [has, is] = how === 'stop' ? ['is stopped', 'being stopped'] : ['has ended', 'being ended'];
  return result === 'ended' ? `${what} ${has}.` : `${what} is ${is}: EC2 had not done it within 3 minutes.`;
}
