import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { crc32 } from 'node:zlib';
import { AwsError } from '../service';

/** A body as it was meant: out of `aws-chunked`, checked against the hash and the checksums that came with it. */
export function decodePayload(
  headers: IncomingHttpHeaders,
  body: Buffer,
): { body: Buffer; checksums: Record<string, string> } {
  const declared = String(headers['x-amz-content-sha256'] ?? '');
  const trailers: Record<string, string> = {};
  if (declared.startsWith('STREAMING-')) {
    if (declared !== 'STREAMING-UNSIGNED-PAYLOAD-TRAILER')
      throw new AwsError('NotImplemented', `Local AWS does not verify ${declared}.`, 501);
    body = unchunk(body, trailers);
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
  'x-amz-checksum-sha1': (body) => createHash('sha1').update(body).digest('base64'),
  'x-amz-checksum-sha256': (body) => createHash('sha256').update(body).digest('base64'),
};

function unchunk(body: Buffer, trailers: Record<string, string>): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const end = body.indexOf('\r\n', at);
    if (end < 0) throw new AwsError('IncompleteBody', 'The request body terminated unexpectedly', 400);
    const size = parseInt(body.toString('latin1', at, end), 16);
    at = end + 2;
    if (size === 0) break;
    if (!(at + size <= body.length))
      throw new AwsError('IncompleteBody', 'The request body terminated unexpectedly', 400);
    parts.push(body.subarray(at, at + size));
    at += size + 2;
  }
  for (const line of body.toString('latin1', at).split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) trailers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  return Buffer.concat(parts);
}
