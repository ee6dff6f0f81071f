import type { IncomingMessage } from 'node:http';
import type { Identities } from './identity';
import { readAuthorization, verifyAuthorization } from './signature';
import { verifyV2Url } from './signature-v2';
import type { ServiceResponse } from './service';
import { createReadStream } from 'node:fs';

/** Whether the head of a request says who sends it: as S3's does, and others' with the hash of the body. */
export function isVerifiedByHead({ method, url = '/', headers }: IncomingMessage, identities: Identities): boolean {
  const [rawPath, rawQuery = ''] = url.split('?');
  const query = new URLSearchParams(rawQuery);
  try {
    const authorization = readAuthorization(headers, query);
    if (!authorization)
      return verifyV2Url({ method: method!, rawPath, query, headers }, identities, Date.now()) !== null;
    const declared = { ...headers, 'x-local-body-sha256': headers['x-amz-content-sha256'] };
    const head = { method: method!, rawPath, rawQuery, headers: declared };
    verifyAuthorization(authorization, head, identities.get(authorization.accessKeyId), Date.now());
    return true;
  } catch {
    // It is refused when it has come, as the service refuses it.
    return false;
  }
}

export function read(body: ServiceResponse['body']): AsyncIterable<Buffer> | Buffer[] {
  if (body === undefined) return [];
  if (typeof body === 'string' || Buffer.isBuffer(body)) return [Buffer.from(body)];
  return createReadStream('', { fd: body.file, start: body.from, end: body.to, highWaterMark: 256 * 1024 });
}

/** ms since the epoch, finer than a millisecond: two processes of one machine agree on it. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}

export async function pause(ms: number): Promise<void> {
  if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
}
