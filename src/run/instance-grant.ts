import { parseDenial } from '../aws/denied';
import { grantLines } from '../aws/permissions/grant';
import type { Principal } from '../aws/permissions/lookup';
import type { Where } from '../aws/permissions/statement';
import type { Check } from '../command/plan';

/** What the instance tries at S3: in whose name, and which action it is. */
const TRIED: Record<string, { by: Principal; action: string }> = {
  'read from S3': { by: 'caller', action: 's3:GetObject' },
  'write to S3': { by: 'caller', action: 's3:PutObject' },
  'write runs by the role': { by: 'instance', action: 's3:PutObject' },
};

/** A check of the instance's, with the statement to add where it failed for the want of a permission. */
export function withGrant(check: Check, where: Where): Check {
  const tried = TRIED[check.name];
  const words = /AccessDenied.*/s.exec(check.detail)?.[0];
  if (check.ok === true || !tried || words === undefined) return check;
  const { action, resource = null, explicit = false } = parseDenial(words) ?? { action: null };
  const lines = grantLines({ action: action ?? tried.action, resource, explicit }, where, tried.by);
  return { ...check, fix: [...(check.fix ? [check.fix] : []), ...lines].join('\n') };
}
