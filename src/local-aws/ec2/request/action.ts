import { allow, type Identity } from '../../protocol/identity';
import type { Form } from './form';
import type { Xml } from './xml';
import { AwsError } from '../../protocol/aws-error';

/** What one action of EC2 does; its answer is what stands in the response. */
export type Action = (form: Form, caller: Identity | null) => { [name: string]: Xml };

/** A permission that a call needs besides its own. @throws AwsError UnauthorizedOperation where it is denied. */
export function alsoAllow(caller: Identity | null, permission: string): void {
  try {
    allow(caller, permission);
  } catch (error) {
    const reason = (error as Error).message;
    throw new AwsError('UnauthorizedOperation', `You are not authorized to perform this operation. ${reason}`, 403);
  }
}

/** @throws AwsError DryRunOperation where the call only asks whether it may. */
export function dryRun(form: Form): void {
  if (form.flag('DryRun'))
    throw new AwsError('DryRunOperation', 'Request would have succeeded, but DryRun flag is set.', 412);
}
