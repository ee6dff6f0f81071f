import type { Identity } from './identity';
import type { ServiceRequest, ServiceResponse } from './service';
import { AwsError } from './aws-error';

export type Json = Record<string, unknown>;

const TYPE = 'application/x-amz-json-1.1';

/** An error of the AWS JSON 1.1 protocol (SSM, Secrets Manager). */
export function jsonError(error: AwsError, requestId: string): ServiceResponse {
  return {
    status: error.status,
    headers: { 'content-type': TYPE, 'x-amzn-requestid': requestId },
    body: JSON.stringify({ __type: error.code, message: error.message }),
  };
}

/** Answers a request by the action that its target names. */
export function answerJson(
  actions: Record<string, (input: Json, identity: Identity) => Json>,
  request: ServiceRequest,
): ServiceResponse {
  const name = String(request.headers['x-amz-target'] ?? '')
    .split('.')
    .pop()!;
  const action = actions[name];
  if (!action) throw new AwsError('UnknownOperationException', `Local AWS does not know the action ${name}.`);
  const answer = action(JSON.parse(request.body.toString() || '{}') as Json, request.identity!);
  return { status: 200, headers: { 'content-type': TYPE }, body: JSON.stringify(answer) };
}
