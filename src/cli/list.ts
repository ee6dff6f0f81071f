import { ACCOUNT_KEYS } from '../config/connection';
import { describeEnd, hourly, listInventory, type Listed } from '../instance/inventory/listing';
import { describePrice, dollars } from '../instance/price/price';
import { Printer } from '../report/printer';
import { sanitizeForTerminal } from '../report/terminal-text';
import { formatCount, formatDuration } from '../report/units';
import { table } from '../report/table';
import { callerName } from '../run/status/status';
import { withAccount, type AccountOptions } from './account';
import { reportOutcome } from './outcome';

export interface ListOptions extends AccountOptions {
  mine?: boolean;
  project?: string;
  verbose?: boolean;
  json?: boolean;
}

/** Shows what nx-ec2 launched in the account and region, found by tags alone. */
export async function list(options: ListOptions, printer = new Printer(options)): Promise<void> {
  await reportOutcome(printer, () =>
    withAccount(
      options,
      async ({ region, caller, inventory, now }) => {
        const { mine, project } = options;
        const made = listInventory(inventory, { caller, mine, project, now });
        const total = hourly(made);
        say(printer, made, { ...options, region, now });
        return { region, caller, made, ...total };
      },
      ACCOUNT_KEYS,
    ),
  );
}

const HEAD = ['ID', 'STATE', 'TYPE', 'MARKET', 'OWNER', 'PROJECT', 'WORKSPACE', 'RUN', 'AGE', 'COST', 'ENDS'];

function say(printer: Printer, made: Listed[], options: ListOptions & { region: string; now: number }): void {
  const { region, now, mine, project } = options;
  if (!made.length) {
    const whose = `${mine ? ' of yours' : ''}${project === undefined ? '' : ` of ${sanitizeForTerminal(project)}`}`;
    return printer.line(`No instances or other resources${whose} were launched by nx-ec2 in ${region}.`);
  }
  for (const [title, part] of [
    ['Yours', made.filter((each) => each.mine)],
    ["The team's", made.filter((each) => !each.mine)],
  ] as const) {
    if (!part.length) continue;
    printer.line(
      `${printer.strong(`${title} in ${region}`)}\n${table([HEAD, ...part.map((each) => row(each, now))])}\n`,
    );
  }
  const { perHour, unknown } = hourly(made);
  const rest = unknown ? `, and ${formatCount(unknown, 'instance')} of unknown price` : '';
  printer.line(`Total: ${dollars(perHour)} an hour${rest}, without disks.`);
  for (const { id, price } of made)
    if (price && options.verbose) printer.line(`${sanitizeForTerminal(id)}: ${describePrice(price)}`);
}

function row(each: Listed, now: number): string[] {
  return [
    each.id,
    each.state || '-',
    each.kind === 'instance' ? (each.type ?? '') : each.kind,
    each.market ?? '',
    each.owner === null ? '?' : callerName(each.owner),
    each.project ?? '?',
    each.workspace ?? '?',
    each.run ?? '',
    formatDuration(each.age),
    each.cost === null ? '' : dollars(each.cost),
    describeEnd(each, now),
  ];
}
