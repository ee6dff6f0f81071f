import { CALLER, CALLER_ON_MADE, CLIENT_SECRETS } from './caller';
import { LAUNCH } from './launch';
import { NEEDS, type Need, type Who } from './needs';
import { DEADLINE, ROLE } from './role';
import type { Statement } from './statement';

/** Whose statements are looked at: a caller's, an instance's role's, or those of what looks after instances from outside. */
export type Principal = 'caller' | 'instance' | 'deadline';

const STATEMENTS: Record<Principal, Statement[]> = {
  caller: [...CALLER, ...CALLER_ON_MADE, ...LAUNCH, ...CLIENT_SECRETS],
  instance: ROLE,
  deadline: DEADLINE,
};

/** The statements that allow an action. STS's own needs none. */
export function statementsFor(action: string, principal: Principal = 'caller'): Statement[] {
  return STATEMENTS[principal].filter((each) => each.Action.includes(action));
}

/** The policy of the template of aws-setup that allows callers an action; undefined where none does. */
export function policyWith(action: string): 'CallerPolicy' | 'LaunchPolicy' | undefined {
  const has = ({ Action }: Statement) => Action.includes(action);
  return CALLER.some(has) ? 'CallerPolicy' : LAUNCH.some(has) ? 'LaunchPolicy' : undefined;
}

/** Whose a row of the table is. */
export function principalOf(who: Who): Principal {
  return who === 'instance' || who === 'deadline' ? who : 'caller';
}

/** The table's rows of one, each action once: its reasons and cases together. */
export function needsOf(who: Who): Need[] {
  const rows = new Map<string, Need[]>();
  for (const need of NEEDS[who] as Need[]) rows.set(need.action, [...(rows.get(need.action) ?? []), need]);
  return [...rows].map(([action, needs]) => {
    const always = needs.filter(({ when }) => !when);
    const cases = [...new Set((always.length ? always : needs).map(({ when }) => when ?? ''))];
    const why = [...new Set(needs.map((each) => each.why))].join('; ');
    return always.length ? { action, why } : { action, why, when: cases.join('; or ') };
  });
}
