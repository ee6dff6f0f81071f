import type { Denied } from '../../report/problem';
import { statementsFor, type Principal } from './lookup';
import { concrete, INSTANCE_TAG, type Where } from './statement';
import { shellWord } from '../../report/shell-words';

const WHOSE: Record<Principal, string> = {
  caller: "the caller's",
  instance: "the instance's role's",
  deadline: "the automation's role's",
};

/**
 * What to do about a permission that is missing, line by line: the statements to add, each as IAM's JSON in one line.
 * @param where what is known of the account.
 */
export function policyLines(denied: Denied, where: Where, principal: Principal = 'caller'): string[] {
  const { action, resource, explicit } = denied;
  if (explicit)
    return [
      `${action} is denied by an explicit Deny: find that policy; a statement that allows the action does not help`,
    ];
  // Of two that exclude each other, the one that fits the store's prefix.
  const unfit = where.prefix ? '!Prefix' : 'Prefix';
  const known = statementsFor(action, principal).filter((each) => each.where !== unfit);
  const statements = known.length
    ? known.map((each) => concrete(each, where, action))
    : [{ Effect: 'Allow', Action: action, Resource: resource ?? '*' }];
  const byTag = known.some(({ Condition }) => JSON.stringify(Condition ?? {}).includes(`resourceTag/${INSTANCE_TAG}`));
  const instance = /:instance\/(i-[0-9a-f]+)$/.exec(resource ?? '')?.[1] ?? 'i-...';
  return [
    `add to ${WHOSE[principal]} policy: ${statements.map((each) => JSON.stringify(each)).join(', ')}`,
    ...(byTag
      ? [
          `or, where it has that, tag the instance: aws ec2 create-tags --resources ${shellWord(instance)} --tags Key=${shellWord(INSTANCE_TAG)},Value=train`,
        ]
      : []),
  ];
}
