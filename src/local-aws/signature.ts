import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Identity } from './identity';
import { AwsError } from './service';

/** What a request says of its signature: AWS Signature Version 4, in headers or in the query. */
export interface Claim {
  service: string;
  region: string;
  date: string;
  accessKeyId: string;
  signedHeaders: string[];
  signature: string;
  timestamp: string;
  /** Seconds that a presigned URL lives; undefined for a signed request. */
  expires?: number;
}

const SKEW = 15 * 60_000;

/** @returns null for an unsigned request. */
export function readClaim(headers: IncomingHttpHeaders, query: URLSearchParams): Claim | null {
  const authorization = headers.authorization;
  if (authorization) {
    const found = /^AWS4-HMAC-SHA256 Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})$/.exec(
      authorization,
    );
    if (!found) throw new AwsError('AuthorizationHeaderMalformed', 'The authorization header is malformed.', 400);
    return {
      ...scope(found[1]),
      signedHeaders: found[2].split(';'),
      signature: found[3],
      timestamp: String(headers['x-amz-date'] ?? ''),
    };
  }
  if (query.get('X-Amz-Algorithm') === 'AWS4-HMAC-SHA256') {
    return {
      ...scope(query.get('X-Amz-Credential') ?? ''),
      signedHeaders: (query.get('X-Amz-SignedHeaders') ?? '').split(';'),
      signature: query.get('X-Amz-Signature') ?? '',
      timestamp: query.get('X-Amz-Date') ?? '',
      expires: Number(query.get('X-Amz-Expires')),
    };
  }
  return null;
}

function scope(credential: string): Pick<Claim, 'accessKeyId' | 'date' | 'region' | 'service'> {
  const [accessKeyId, date, region, service, end] = credential.split('/');
  if (end !== 'aws4_request')
    throw new AwsError('AuthorizationHeaderMalformed', 'The credential scope is malformed.', 400);
  return { accessKeyId, date, region, service };
}

/** @throws AwsError where the signature, its time or its signer is not right. */
export function verifyClaim(
  claim: Claim,
  request: { method: string; rawPath: string; rawQuery: string; headers: IncomingHttpHeaders },
  identity: Identity | undefined,
  now: number,
): void {
  if (!identity)
    throw new AwsError('InvalidAccessKeyId', 'The AWS Access Key Id you provided does not exist in our records.', 403);
  const time = parseTimestamp(claim.timestamp);
  if (claim.expires === undefined) {
    if (Math.abs(now - time) > SKEW)
      throw new AwsError(
        'RequestTimeTooSkewed',
        'The difference between the request time and the current time is too large.',
        403,
      );
  } else {
    if (!(claim.expires >= 1 && claim.expires <= 604_800))
      throw new AwsError(
        'AuthorizationQueryParametersError',
        'X-Amz-Expires must be between 1 and 604800 seconds',
        400,
      );
    if (now > time + claim.expires * 1000) throw new AwsError('AccessDenied', 'Request has expired', 403);
    if (time - now > SKEW) throw new AwsError('AccessDenied', 'Request is not valid yet', 403);
  }
  const payload =
    claim.expires !== undefined ? 'UNSIGNED-PAYLOAD' : String(request.headers['x-amz-content-sha256'] ?? '');
  const candidates = claim.service === 's3' ? [payload] : [String(request.headers['x-local-body-sha256'])];
  const canonicalPath =
    claim.service === 's3' ? encodePath(decodeURIComponent(request.rawPath)) : encodePath(request.rawPath);
  const matches = candidates.some((hash) => {
    const canonical = [
      request.method,
      canonicalPath,
      canonicalQuery(request.rawQuery),
      ...claim.signedHeaders.map(
        (name) =>
          `${name}:${String(request.headers[name] ?? '')
            .trim()
            .replace(/ +/g, ' ')}`,
      ),
      '',
      claim.signedHeaders.join(';'),
      hash,
    ].join('\n');
    const toSign = [
      'AWS4-HMAC-SHA256',
      claim.timestamp,
      `${claim.date}/${claim.region}/${claim.service}/aws4_request`,
      sha256(canonical),
    ].join('\n');
    return same(hmac(signingKey(identity.secretAccessKey, claim), toSign).toString('hex'), claim.signature);
  });
  if (!matches)
    throw new AwsError(
      'SignatureDoesNotMatch',
      'The request signature we calculated does not match the signature you provided.',
      403,
    );
}

/** Verifies the policy of a presigned form (S3 POST) and returns the signer's claim. */
export function verifyForm(
  fields: Map<string, string>,
  identities: Map<string, Identity>,
  size: number,
  now: number,
): Identity {
  const credential = scope(fields.get('x-amz-credential') ?? '////');
  const identity = identities.get(credential.accessKeyId);
  if (!identity)
    throw new AwsError('InvalidAccessKeyId', 'The AWS Access Key Id you provided does not exist in our records.', 403);
  const encoded = fields.get('policy') ?? '';
  if (
    !same(
      hmac(signingKey(identity.secretAccessKey, credential), encoded).toString('hex'),
      fields.get('x-amz-signature') ?? '',
    )
  ) {
    throw new AwsError(
      'SignatureDoesNotMatch',
      'The request signature we calculated does not match the signature you provided.',
      403,
    );
  }
  const policy = JSON.parse(Buffer.from(encoded, 'base64').toString()) as { expiration: string; conditions: unknown[] };
  if (now > Date.parse(policy.expiration))
    throw new AwsError('AccessDenied', 'Invalid according to Policy: Policy expired.', 403);
  const covered = new Set(['policy', 'x-amz-signature', 'file']);
  const failed = (condition: unknown) =>
    new AwsError(
      'AccessDenied',
      `Invalid according to Policy: Policy Condition failed: ${JSON.stringify(condition)}`,
      403,
    );
  for (const condition of policy.conditions) {
    if (!Array.isArray(condition)) {
      for (const [name, value] of Object.entries(condition as Record<string, string>)) {
        covered.add(name.toLowerCase());
        if (fields.get(name.toLowerCase()) !== value) throw failed(condition);
      }
      continue;
    }
    const [kind, a, b] = condition as [string, string, string];
    if (kind === 'content-length-range') {
      if (size < Number(a))
        throw new AwsError('EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed size');
      if (size > Number(b))
        throw new AwsError('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed size');
      continue;
    }
    const name = a.replace(/^\$/, '').toLowerCase();
    covered.add(name);
    const value = fields.get(name) ?? '';
    if (kind === 'eq' ? value !== b : !value.startsWith(b)) throw failed(condition);
  }
  for (const name of fields.keys()) {
    if (!covered.has(name) && !name.startsWith('x-ignore-'))
      throw new AwsError('AccessDenied', `Invalid according to Policy: Extra input fields: ${name}`, 403);
  }
  return identity;
}

function signingKey(
  secret: string,
  { date, region, service }: { date: string; region: string; service: string },
): Buffer {
  return [date, region, service, 'aws4_request'].reduce<Buffer | string>(
    (key, part) => hmac(key, part),
    `AWS4${secret}`,
  ) as Buffer;
}

function hmac(key: Buffer | string, data: string): Buffer {
  return createHmac('sha256', key).update(data).digest();
}

function sha256(data: string): string {
  return createHash('sha256').update(data).digest('hex');
}

function same(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}

function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

function encodePath(path: string): string {
  return path.split('/').map(encode).join('/');
}

function canonicalQuery(raw: string): string {
  if (!raw) return '';
  return raw
    .split('&')
    .map((pair) => {
      const [name, value = ''] = pair.split('=').map((part) => encode(decodeURIComponent(part.replace(/\+/g, ' '))));
      return [name, value];
    })
    .filter(([name]) => name !== 'X-Amz-Signature')
    .sort(([a, x], [b, y]) => (a < b ? -1 : a > b ? 1 : x < y ? -1 : x > y ? 1 : 0))
    .map((pair) => pair.join('='))
    .join('&');
}

function parseTimestamp(text: string): number {
  const found = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text);
  if (!found) throw new AwsError('AccessDenied', 'AWS authentication requires a valid Date or x-amz-date header', 403);
  const [, ...parts] = found;
  return Date.UTC(
    Number(parts[0]),
    Number(parts[1]) - 1,
    ...(parts.slice(2).map(Number) as [number, number, number, number]),
  );
}
