import { escapeXml, type ServiceResponse } from './service';
import type { AwsError } from './aws-error';

/** An error of the AWS query protocol (STS). */
export function queryError(error: AwsError, requestId: string, namespace: string): ServiceResponse {
  return {
    status: error.status,
    headers: { 'content-type': 'text/xml' },
    body: `<ErrorResponse xmlns="${namespace}"><Error><Type>Sender</Type><Code>${error.code}</Code><Message>${escapeXml(error.message)}</Message></Error><RequestId>${requestId}</RequestId></ErrorResponse>`,
  };
}
