import { endOverdue, type Ended } from '../instance/end-overdue';
import { isMine } from '../instance/listing';
import { overdue, type Fates, type Overdue } from '../instance/overdue';
import { readTags } from '../instance/tags';
import { Problem } from '../report/problem';
import { Reporter } from '../report/reporter';
import { printable } from '../report/terminal-text';
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
      const { aws, region, caller, inventory, now } = account;
      const late = overdue(inventory, await fatesOf(account, reporter), now);
      const mine = options.all ? late : late.filter(({ made }) => isMine(made, caller));
      const others = late.length - mine.length;
      if (mine.length) reporter.line(table([HEAD, ...mine.map(row)]));
      else reporter.line(`Nothing${options.all ? '' : ' of yours'} in ${region} should have ended.`);
      if (others) reporter.line(`Of others: ${others}, left alone; --all names and ends them too.`);
      if (!options.apply) {
        if (mine.length) reporter.line('Nothing was changed: --apply ends it.');
        return { region, applied: false, overdue: mine.map(told), others };
      }
      const ended = await endOverdue(aws, mine, inventory, WAIT, reporter);
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

const NONE: Fates = { tagged: () => null, on: () => [] };

async function fatesOf({ place, aws, inventory }: Account, reporter: Reporter): Promise<Fates> {
  const { bucket, prefix } = place;
  if (bucket !== undefined) return readFates(new Store(aws, { ...place, bucket }), prefix, inventory);
  reporter.warn('No bucket is named: what has a run is looked at by its times alone.');
  return NONE;
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
