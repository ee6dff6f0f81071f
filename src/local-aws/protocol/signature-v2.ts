import { createHmac } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Identities, Identity } from './identity';
import { mismatch, unknownKey, verifyToken } from './signature';
import { AwsError } from './aws-error';

/** The parameters of a query that choose what a request does, or how it is answered: the signature covers them. */
const SIGNED_PARAMETERS = new Set([
  ...['acl', 'cors', 'delete', 'lifecycle', 'location', 'logging', 'notification', 'partNumber', 'policy', 'tagging'],
  ...['requestPayment', 'restore', 'torrent', 'uploadId', 'uploads', 'versionId', 'versioning', 'versions', 'website'],
  ...['response-cache-control', 'response-content-disposition', 'response-content-encoding', 'response-expires'],
  ...['response-content-language', 'response-content-type'],
]);

/**
 * The signer of a URL presigned in S3's older way (Signature Version 2), which boto3 and the AWS CLI still use for an
 * endpoint of one's own; null for any other request.
 */
export function verifyV2Url(
  request: { method: string; rawPath: string; query: URLSearchParams; headers: IncomingHttpHeaders },
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
  // As headers, or in the URL.
  const given = { ...Object.fromEntries(query), ...request.headers };
  const toSign = [
    request.method,
    given['content-md5'] ?? '',
    given['content-type'] ?? '',
    expires,
    ...Object.entries(given)
      .filter(([name]) => name.startsWith('x-amz-'))
      .map(([name, value]) => `${name}:${String(value).trim()}`)
      .sort(),
    request.rawPath + signedQuery(query),
  ].join('\n');
  if (createHmac('sha1', identity.secretAccessKey).update(toSign).digest('base64') !== query.get('Signature'))
    throw mismatch('s3');
  return identity;
}

function signedQuery(query: URLSearchParams): string {
  const signed = [...query].filter(([name]) => SIGNED_PARAMETERS.has(name)).sort(([a], [b]) => (a < b ? -1 : 1));
  return signed.length ? `?${signed.map(([name, value]) => (value ? `${name}=${value}` : name)).join('&')}` : '';
}
