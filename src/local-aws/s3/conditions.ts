import type { ServiceRequest } from '../protocol/service';
import type { StoredObject } from './objects';
import { AwsError } from '../protocol/aws-error';

/** What a write may depend on. */
export const CONDITIONS = ['if-none-match', 'if-match'];

export function preconditionFailed(): AwsError {
  return new AwsError('PreconditionFailed', 'At least one of the pre-conditions you specified did not hold', 412);
}

/** Refuses a write whose condition does not hold for what is there. */
export function checkConditions(request: ServiceRequest, existing: StoredObject | null): void {
  if (request.headers['if-none-match'] === '*' && existing) throw preconditionFailed();
  const match = request.headers['if-match'];
  if (match && !existing) throw new AwsError('NoSuchKey', 'The specified key does not exist.', 404);
  if (match && existing!.etag !== match) throw preconditionFailed();
}
