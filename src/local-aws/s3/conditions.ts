import { AwsError } from '../aws-error';

/** What a write may depend on. */
export const CONDITIONS = ['if-none-match', 'if-match'];

export function preconditionFailed(): AwsError {
  return new AwsError('PreconditionFailed', 'At least one of the pre-conditions you specified did not hold', 412);
}
