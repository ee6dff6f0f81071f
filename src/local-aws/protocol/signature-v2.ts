import { createHmac } from 'node:crypto';
import type { Identities, Identity } from './identity';
import { mismatch, unknownKey, verifyToken } from './signature';
import { AwsError } from './aws-error';

/**
 * The signer of a URL presigned in S3's older way (Signature Version 2), which boto3 and the AWS CLI still use for an
 * endpoint of one's own; null for any other request.
 */
export function verifyV2Url(
  request: { method: string; rawPath: string; query: URLSearchParams },
  identities: Identities,
  now: number,
): Identity | null {
  const { query } = request;
  const accessKeyId = query.get('AWSAccessKeyId');
  if (accessKeyId === null) return null;
  const identity = identities.get(accessKeyId);
  if (!identity) throw unknownKey('s3');
  const token = query.get('x-amz-security-token') ?? undefined;
  verifyToken(identity, token, 's3', now);
  const expires = query.get('Expires') ?? '';
  if (!(Number(expires) * 1000 > now)) throw new AwsError('AccessDenied', 'Request has expired', 403);
  const toSign = [
    request.method,
    '',
    '',
    expires,
    ...(token === undefined ? [] : [`x-amz-security-token:${token}`]),
    request.rawPath,
  ].join('\n');
  if (createHmac('sha1', identity.secretAccessKey).update(toSign).digest('base64') !== query.get('Signature'))
    throw mismatch('s3');
  return identity;
}
