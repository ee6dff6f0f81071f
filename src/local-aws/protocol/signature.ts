import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Identities, Identity } from './identity';
import { decodeUri } from './decode-uri';
import { AwsError } from './aws-error';

/** What a request says of its signature: AWS Signature Version 4, in headers or in the query. */
export interface Authorization {
  service: string;
  region: string;
  date: string;
  accessKeyId: string;
  signedHeaders: string[];
  signature: string;
  timestamp: string;
  /** The session's token, for temporary credentials. */
  token?: string;
  /** Seconds that a presigned URL lives; undefined for a signed request. */
  expires?: number;
}

const MAX_CLOCK_SKEW_MS = 15 * 60_000;

/** @returns null for an unsigned request. */
export function readAuthorization(headers: IncomingHttpHeaders, query: URLSearchParams): Authorization | null {
  const header = headers.authorization;
  if (header) {
    const found = /^AWS4-HMAC-SHA256 Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})$/.exec(
      header,
    );
    if (!found) throw new AwsError('AuthorizationHeaderMalformed', 'The authorization header is malformed.', 400);
    return {
      ...scope(found[1]),
      signedHeaders: found[2].split(';'),
      signature: found[3],
      timestamp: String(headers['x-amz-date'] ?? ''),
      token: headers['x-amz-security-token'] as string | undefined,
    };
  }
  if (query.get('X-Amz-Algorithm') === 'AWS4-HMAC-SHA256') {
    return {
      ...scope(query.get('X-Amz-Credential') ?? ''),
      signedHeaders: (query.get('X-Amz-SignedHeaders') ?? '').split(';'),
      signature: query.get('X-Amz-Signature') ?? '',
      timestamp: query.get('X-Amz-Date') ?? '',
      token: query.get('X-Amz-Security-Token') ?? undefined,
      expires: Number(query.get('X-Amz-Expires')),
    };
  }
  return null;
}

function scope(credential: string): Pick<Authorization, 'accessKeyId' | 'date' | 'region' | 'service'> {
  const [accessKeyId, date, region, service, end] = credential.split('/');
  if (end !== 'aws4_request')
    throw new AwsError('AuthorizationHeaderMalformed', 'The credential scope is malformed.', 400);
  return { accessKeyId, date, region, service };
}

/** @throws AwsError where the signature, its time or its signer is not right. */
export function verifyAuthorization(
  authorization: Authorization,
  request: { method: string; rawPath: string; rawQuery: string; headers: IncomingHttpHeaders },
  identity: Identity | undefined,
  now: number,
): void {
  if (!identity) throw unknownKey(authorization.service);
  verifyToken(identity, authorization.token, authorization.service, now);
  assertInTime(authorization, now);
  if (authorization.service === 's3') assertHeadersSigned(request.headers, authorization.signedHeaders);
  const payload = String(
    request.headers['x-amz-content-sha256'] ?? (authorization.expires === undefined ? '' : 'UNSIGNED-PAYLOAD'),
  );
  const candidates = authorization.service === 's3' ? [payload] : [String(request.headers['x-local-body-sha256'])];
  const canonicalPath =
    authorization.service === 's3' ? encodePath(decodeUri(request.rawPath)) : encodePath(request.rawPath);
  const matches = candidates.some((hash) => {
    const canonical = [
      request.method,
      canonicalPath,
      canonicalQuery(request.rawQuery),
      ...authorization.signedHeaders.map(
        (name) =>
          `${name}:${String(request.headers[name] ?? '')
            .trim()
            .replace(/ +/g, ' ')}`,
      ),
      '',
      authorization.signedHeaders.join(';'),
      hash,
    ].join('\n');
    const toSign = [
      'AWS4-HMAC-SHA256',
      authorization.timestamp,
      `${authorization.date}/${authorization.region}/${authorization.service}/aws4_request`,
      sha256(canonical),
    ].join('\n');
    return same(
      hmac(signingKey(identity.secretAccessKey, authorization), toSign).toString('hex'),
      authorization.signature,
    );
  });
  if (!matches) throw mismatch(authorization.service);
}

/** @throws AwsError where a signature is not valid yet, or not any more. */
function assertInTime(authorization: Authorization, now: number): void {
  const time = parseTimestamp(authorization.timestamp);
  if (authorization.expires === undefined) {
    if (Math.abs(now - time) > MAX_CLOCK_SKEW_MS)
      throw new AwsError(
        'RequestTimeTooSkewed',
        'The difference between the request time and the current time is too large.',
        403,
      );
  } else {
    if (!(authorization.expires >= 1 && authorization.expires <= 604_800))
      throw new AwsError(
        'AuthorizationQueryParametersError',
        'X-Amz-Expires must be between 1 and 604800 seconds',
        400,
      );
    if (now > time + authorization.expires * 1000) throw new AwsError('AccessDenied', 'Request has expired', 403);
    if (time - now > MAX_CLOCK_SKEW_MS) throw new AwsError('AccessDenied', 'Request is not valid yet', 403);
  }
}

/** S3 acts on none of these headers where the signature does not cover it. The payload's hash is signed in any case. */
function assertHeadersSigned(headers: IncomingHttpHeaders, signed: readonly string[]): void {
  const unsigned = Object.keys(headers).filter(
    (name) =>
      (name === 'host' || name === 'content-md5' || name.startsWith('x-amz-')) &&
      name !== 'x-amz-content-sha256' &&
      !signed.includes(name),
  );
  if (!unsigned.length) return;
  const text = 'There were headers present in the request which were not signed';
  throw new AwsError('AccessDenied', text, 403, {}, { HeadersNotSigned: unsigned.sort().join(', ') });
}

const NOT_VALIDATED = 'AWS was not able to validate the provided access credentials';

export function unknownKey(service: string): AwsError {
  if (service === 'ec2') return new AwsError('AuthFailure', NOT_VALIDATED, 401);
  if (service === 'ssm' || service === 'secretsmanager')
    return new AwsError('UnrecognizedClientException', 'The security token included in the request is invalid.', 400);
  if (service === 'sts')
    return new AwsError('InvalidClientTokenId', 'The security token included in the request is invalid.', 403);
  return new AwsError('InvalidAccessKeyId', 'The AWS Access Key Id you provided does not exist in our records.', 403);
}

/** What each service says of a signature that is not right. */
export function mismatch(service: string): AwsError {
  const text = 'The request signature we calculated does not match the signature you provided.';
  if (service === 'ec2') return new AwsError('AuthFailure', NOT_VALIDATED, 401);
  if (service === 'ssm' || service === 'secretsmanager') return new AwsError('InvalidSignatureException', text, 400);
  return new AwsError('SignatureDoesNotMatch', text, 403);
}

/** Temporary credentials are worth nothing without their token, nor after its end. Each service has its own word for it. */
export function verifyToken(identity: Identity, token: string | undefined, service: string, now: number): void {
  if (identity.session?.token !== token)
    throw new AwsError(
      service === 's3' ? 'InvalidToken' : 'InvalidClientTokenId',
      'The security token included in the request is invalid',
      service === 's3' ? 400 : 403,
    );
  if (identity.session && now > identity.session.expires) {
    const code =
      { ssm: 'ExpiredTokenException', secretsmanager: 'ExpiredTokenException', ec2: 'RequestExpired' }[service] ??
      'ExpiredToken';
    throw new AwsError(code, 'The security token included in the request is expired', 400);
  }
}

/** What the chunks of a body are signed with, one after the other (SigV4, chunked upload). */
export interface ChunkSigner {
  /** @returns the signature of a chunk, which the next one is chained to. */
  chunk(data: Buffer): string;
  trailer(lines: string): string;
}

export function chunkSigner(authorization: Authorization, identity: Identity): ChunkSigner {
  const key = signingKey(identity.secretAccessKey, authorization);
  let previous = authorization.signature;
  const sign = (kind: string, ...hashes: string[]) =>
    (previous = hmac(
      key,
      [
        `AWS4-HMAC-SHA256-${kind}`,
        authorization.timestamp,
        `${authorization.date}/${authorization.region}/${authorization.service}/aws4_request`,
        previous,
        ...hashes,
      ].join('\n'),
    ).toString('hex'));
  return {
    chunk: (data) => sign('PAYLOAD', sha256(''), sha256(data)),
    trailer: (lines) => sign('TRAILER', sha256(lines)),
  };
}

/**
 * Verifies the policy of a presigned form (S3 POST) and returns the signer.
 * @param bucket that the form was sent to: what a condition on `bucket` is compared with. Boto3 sends no such field.
 */
export function verifyForm(
  fields: Map<string, string>,
  bucket: string,
  identities: Identities,
  size: number,
  now: number,
): Identity {
  const encoded = fields.get('policy') ?? '';
  const identity = formSigner(fields, encoded, identities);
  verifyToken(identity, fields.get('x-amz-security-token'), 's3', now);
  const policy = JSON.parse(Buffer.from(encoded, 'base64').toString()) as { expiration: string; conditions: unknown[] };
  if (now > Date.parse(policy.expiration))
    throw new AwsError('AccessDenied', 'Invalid according to Policy: Policy expired.', 403);
  const valueOf = (name: string) => (name === 'bucket' ? bucket : fields.get(name));
  const covered = new Set(['policy', 'x-amz-signature', 'awsaccesskeyid', 'signature', 'file']);
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
        if (valueOf(name.toLowerCase()) !== value) throw failed(['eq', `$${name}`, value]);
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
    const value = valueOf(name);
    // A field that is not there fails even what any value would do.
    if (value === undefined || (kind === 'eq' ? value !== b : !value.startsWith(b))) throw failed(condition);
  }
  for (const name of fields.keys()) {
    if (!covered.has(name) && !name.startsWith('x-ignore-'))
      throw new AwsError('AccessDenied', `Invalid according to Policy: Extra input fields: ${name}`, 403);
  }
  return identity;
}

/** Who has signed a form's policy: by Signature Version 4, or by version 2, which boto3 uses for an endpoint of one's own. */
function formSigner(fields: Map<string, string>, policy: string, identities: Identities): Identity {
  const accessKeyId = fields.get('awsaccesskeyid');
  const credential = accessKeyId === undefined ? scope(fields.get('x-amz-credential') ?? '////') : undefined;
  const identity = identities.get(credential?.accessKeyId ?? accessKeyId!);
  if (!identity) throw unknownKey('s3');
  const secret = identity.secretAccessKey;
  const valid = credential
    ? same(hmac(signingKey(secret, credential), policy).toString('hex'), fields.get('x-amz-signature') ?? '')
    : same(createHmac('sha1', secret).update(policy).digest('base64'), fields.get('signature') ?? '');
  if (!valid) throw mismatch('s3');
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

function sha256(data: string | Buffer): string {
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
      const [name, value = ''] = pair.split('=').map((part) => encode(decodeUri(part.replace(/\+/g, ' '))));
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
