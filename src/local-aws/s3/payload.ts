import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { crc32 } from 'node:zlib';
import { mismatch, type ChunkSigner } from '../protocol/signature';
import { crc32c, crc64Nvme } from './crc';
import { AwsError } from '../protocol/aws-error';

/** A body as it was meant: out of `aws-chunked`, checked against the hash and the checksums that came with it. */
export function decodePayload(
  headers: IncomingHttpHeaders,
  body: Buffer,
  signer?: ChunkSigner,
): { body: Buffer; checksums: Record<string, string> } {
  const declared = String(headers['x-amz-content-sha256'] ?? '');
  const trailers: Record<string, string> = {};
  if (declared.startsWith('STREAMING-')) {
    const signed = /^STREAMING-AWS4-HMAC-SHA256-PAYLOAD(-TRAILER)?$/.test(declared);
    if (!signed && declared !== 'STREAMING-UNSIGNED-PAYLOAD-TRAILER')
      throw new AwsError('NotImplemented', `Local AWS does not verify ${declared}.`, 501);
    if (signed && !signer) throw new AwsError('AccessDenied', 'Access Denied', 403);
    body = unchunk(body, trailers, signed ? signer : undefined);
    if (Number(headers['x-amz-decoded-content-length'] ?? body.length) !== body.length)
      throw new AwsError('IncompleteBody', 'You did not provide the number of bytes specified by the header', 400);
  } else if (/^[0-9a-f]{64}$/.test(declared) && createHash('sha256').update(body).digest('hex') !== declared) {
    throw new AwsError(
      'XAmzContentSHA256Mismatch',
      'The provided x-amz-content-sha256 header does not match what was computed.',
      400,
    );
  }
  const md5 = headers['content-md5'];
  if (md5 && createHash('md5').update(body).digest('base64') !== md5)
    throw new AwsError('BadDigest', 'The Content-MD5 you specified did not match what we received.', 400);
  const checksums: Record<string, string> = {};
  for (const [name, compute] of Object.entries(CHECKSUMS)) {
    const sent = headers[name] ?? trailers[name];
    if (sent === undefined) continue;
    if (compute(body) !== sent)
      throw new AwsError(
        'BadDigest',
        `The ${name.slice('x-amz-checksum-'.length).toUpperCase()} you specified did not match the calculated checksum.`,
        400,
      );
    checksums[name] = String(sent);
  }
  return { body, checksums };
}

const CHECKSUMS: Record<string, (body: Buffer) => string> = {
  'x-amz-checksum-crc32': (body) => {
    const value = Buffer.alloc(4);
    value.writeUInt32BE(crc32(body));
    return value.toString('base64');
  },
  'x-amz-checksum-crc32c': (body) => crc32c(body).toString('base64'),
  'x-amz-checksum-crc64nvme': (body) => crc64Nvme(body).toString('base64'),
  'x-amz-checksum-sha1': (body) => createHash('sha1').update(body).digest('base64'),
  'x-amz-checksum-sha256': (body) => createHash('sha256').update(body).digest('base64'),
};

function unchunk(body: Buffer, trailers: Record<string, string>, signer?: ChunkSigner): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const end = body.indexOf('\r\n', at);
    if (end < 0) throw incomplete();
    const [length, extension = ''] = body.toString('latin1', at, end).split(';');
    const size = parseInt(length, 16);
    at = end + 2;
    if (!(at + size <= body.length)) throw incomplete();
    const part = body.subarray(at, at + size);
    if (signer && signer.chunk(part) !== extension.replace('chunk-signature=', '')) throw mismatch('s3');
    if (size === 0) break;
    parts.push(part);
    at += size + 2;
  }
  const lines = body
    .toString('latin1', at)
    .split('\r\n')
    .filter((line) => line.includes(':'));
  for (const line of lines) {
    const colon = line.indexOf(':');
    trailers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  const signature = trailers['x-amz-trailer-signature'];
  if (signer && signature !== undefined) {
    const signed = lines.filter((line) => !line.startsWith('x-amz-trailer-signature')).map((line) => `${line}\n`);
    if (signer.trailer(signed.join('')) !== signature) throw mismatch('s3');
  } else if (signer && lines.length) throw mismatch('s3');
  return Buffer.concat(parts);
}

function incomplete(): AwsError {
  return new AwsError('IncompleteBody', 'The request body terminated unexpectedly', 400);
}
