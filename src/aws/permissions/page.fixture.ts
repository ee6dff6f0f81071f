import { DEPENDENT } from './dependent';
import { needsOf, principalOf, statementsFor } from './lookup';
import { NEEDS, type Who } from './needs';

const NOTE = '<!-- made of src/aws/permissions: NX_EC2_WRITE_DOCS=1 npx jest src/aws/permissions -->';

/** docs/reference/iam.md. */
export function permissionsPage(): string {
  const callers = (Object.keys(NEEDS) as Who[]).filter((who) => principalOf(who) === 'caller');
  const part = (prefix: boolean) => callers.filter((who) => who.startsWith('nx-ec2 ') === prefix);
  return [
    '# AWS permissions',
    NOTE,
    'What is called, by whom, why and when. `nx g nx-ec2:aws-setup` writes a CloudFormation template that allows this and no more: `CallerPolicy` for those who start trainings, with `--launch` for those who make instances, a role for the instances. A spec runs every target and every verb and holds the calls that were made against these tables. Where a permission is missing, `remote-doctor` names it and prints the statement to add.',
    '`always` is said of each run of a target, `when` of the case in which the action is called.',
    '## Targets',
    ...part(false).flatMap(section),
    '## Verbs of the command',
    ...part(true).flatMap(section),
    "## The instances' role",
    'The agent has, besides, what the last table says.',
    table('instance'),
    '## What looks after instances from outside',
    'The role of the automation that `aws-setup --deadline` makes.',
    table('deadline'),
    '## What no call shows',
    'AWS asks for these inside another action.',
    rows(
      ['who', 'action', 'asked for at', 'why'],
      DEPENDENT.map(({ who, action, at, why }) => [who, code(action), at, why]),
    ),
    '',
  ].join('\n\n');
}

function section(who: Who): string[] {
  return [`### \`${who}\``, table(who)];
}

function table(who: Who): string {
  return rows(
    ['action', 'on', 'why', 'when'],
    needsOf(who).map(({ action, why, when }) => [
      code(action),
      statementsFor(action, principalOf(who))
        .map(({ on }) => on)
        .filter((on, index, all) => all.indexOf(on) === index)
        .join('; ') || 'nothing: it needs no permission',
      why,
      when ?? 'always',
    ]),
  );
}

function code(actions: string): string {
  return actions
    .split(', ')
    .map((action) => `\`${action}\``)
    .join(', ');
}

function rows(head: string[], body: string[][]): string {
  const line = (cells: string[]) => `| ${cells.map((text) => text.replace(/\|/g, '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '-')), ...body.map(line)].join('\n');
}
