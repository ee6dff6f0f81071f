import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CALLER, CALLER_ON_MADE, KEY } from './caller';
import { DEPENDENT } from './dependent';
import { LAUNCH } from './launch';
import { needsOf, principalOf, statementsFor } from './lookup';
import { NEEDS, type Who } from './needs';
import { permissionsPage } from './page.fixture';
import { AGENT, DEADLINE, ROLE } from './role';
import { concrete } from './statement';

const PAGE = join(__dirname, '../../../docs/reference/iam.md');
const everyone = Object.keys(NEEDS) as Who[];

/** As prettier has it, but for the widths of columns. */
const plain = (page: string) =>
  page
    .replace(/ +/g, ' ')
    .replace(/-+/g, '-')
    .replace(/\\([*_])/g, '$1')
    .trim();

describe('permissions', () => {
  it('are each allowed by a statement', () => {
    const free = ['sts:GetCallerIdentity'];
    const missing = everyone.flatMap((who) =>
      needsOf(who)
        .map(({ action }) => action)
        .filter((action) => !free.includes(action) && !statementsFor(action, principalOf(who)).length)
        .map((action) => `${who}: ${action}`),
    );
    expect(missing).toEqual([]);
  });

  it('hold only the actions of the table, and those that no call shows', () => {
    const hidden = DEPENDENT.flatMap(({ action }) => action.split(', '));
    const needed = (who: (each: Who) => boolean) =>
      new Set([...everyone.filter(who).flatMap((each) => needsOf(each).map(({ action }) => action)), ...hidden]);
    const beyond = (statements: typeof ROLE, known: Set<string>) =>
      statements.flatMap(({ Action }) => Action).filter((action) => !known.has(action));
    expect(
      beyond(
        [...CALLER, ...CALLER_ON_MADE, ...LAUNCH],
        needed((who) => principalOf(who) === 'caller'),
      ),
    ).toEqual([]);
    expect(
      beyond(
        ROLE.filter((each) => !AGENT.includes(each)),
        needed((who) => who === 'instance'),
      ),
    ).toEqual([]);
    expect(
      beyond(
        DEADLINE,
        needed((who) => who === 'deadline'),
      ),
    ).toEqual([]);
  });

  it('are written as IAM expects them if the account is known', () => {
    const where = { partition: 'aws-cn', region: 'cn-north-1', account: '123456789012', bucket: 'acme' };
    for (const statement of [...CALLER, ...CALLER_ON_MADE, ...LAUNCH, ...ROLE, ...DEADLINE]) {
      const text = JSON.stringify(concrete(statement, where, statement.Action[0]));
      // What is left are IAM's own variables.
      expect(text.replace(/\$\{aws:(userid|username)\}/g, '')).not.toMatch(/\$\{|undefined/);
      expect(JSON.parse(text)).toMatchObject({ Effect: 'Allow', Action: statement.Action[0] });
    }
    expect(concrete(statementsFor('iam:PassRole')[0], where)).toEqual({
      Effect: 'Allow',
      Action: ['iam:PassRole'],
      Resource: 'arn:aws-cn:iam::123456789012:role/ROLE-OF-THE-INSTANCE-PROFILE',
      Condition: { StringEquals: { 'iam:PassedToService': 'ec2.amazonaws.com.cn' } },
    });
    expect(concrete(KEY, {})).toMatchObject({ Resource: 'ARN-OF-THE-KEY' });
  });

  it('are the page docs/reference/iam.md', () => {
    if (process.env.NX_EC2_WRITE_DOCS) writeFileSync(PAGE, permissionsPage());
    expect(plain(readFileSync(PAGE, 'utf8'))).toBe(plain(permissionsPage()));
  });
});
