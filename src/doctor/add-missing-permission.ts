import { parseDenial } from '../aws/denied';
import { policyLines } from '../aws/permissions/grant';
import type { Principal } from '../aws/permissions/lookup';
import type { Where } from '../aws/permissions/statement';
import type { Check } from '../command/plan';

/** What is tried: in whose name, and which action it is where AWS names none. */
const ATTEMPTED: Record<string, { by: Principal; action: string }> = {
  'read from S3': { by: 'caller', action: 's3:GetObject' },
  'write to S3': { by: 'caller', action: 's3:PutObject' },
  'write runs by the role': { by: 'instance', action: 's3:PutObject' },
  'launch an instance': { by: 'caller', action: 'ec2:RunInstances' },
  'instance type': { by: 'caller', action: 'ec2:DescribeInstanceTypes' },
  offered: { by: 'caller', action: 'ec2:DescribeInstanceTypeOfferings' },
  image: { by: 'caller', action: 'ssm:GetParameters' },
};

/** A check that knows only AWS's words, with the statement to add where it failed for the want of a permission. */
export function addMissingPermission(check: Check, where: Where): Check {
  const attempted = ATTEMPTED[check.name];
  const words = /(AccessDenied|UnauthorizedOperation).*/s.exec(check.detail)?.[0];
  if (check.ok === true || !attempted || words === undefined) return check;
  const { action, resource = null, explicit = false } = parseDenial(words) ?? { action: null };
  const lines = policyLines({ action: action ?? attempted.action, resource, explicit }, where, attempted.by);
  return { ...check, fix: [...(check.fix ? [check.fix] : []), ...lines].join('\n') };
}
