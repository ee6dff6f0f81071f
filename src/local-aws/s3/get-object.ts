import { openSync } from 'node:fs';
import { AwsError } from '../protocol/aws-error';
import { allow } from '../protocol/identity';
import type { ServiceRequest, ServiceResponse } from '../protocol/service';
import { preconditionFailed } from './conditions';
import type { Buckets } from './objects';
import { assertReadable } from './readable';

/** The answer to GET and HEAD of an object. @param disabledKeys KMS keys by their ARNs. */
export function getObject(
  buckets: Buckets,
  request: ServiceRequest,
  { bucket, key }: { bucket: string; key: string },
  disabledKeys: ReadonlySet<string>,
): ServiceResponse {
  const object = buckets.head(bucket, key);
  if (!object) {
    // To whoever may not list, it is not told whether there is one.
    allow(request.identity, 's3:ListBucket');
    throw new AwsError('NoSuchKey', 'The specified key does not exist.', 404);
  }
  assertReadable(request, object, disabledKeys);
  if (request.headers['if-match'] && request.headers['if-match'] !== object.etag) throw preconditionFailed();
  const { headers: all, ...about } = object;
  const wanted = request.headers['x-amz-checksum-mode'] === 'ENABLED';
  const own = Object.fromEntries(Object.entries(all).filter(([name]) => wanted || !name.startsWith('x-amz-checksum-')));
  const headers: Record<string, string> = {
    ...own,
    etag: about.etag,
    'content-type': about.contentType,
    'last-modified': new Date(about.modified).toUTCString(),
    'accept-ranges': 'bytes',
  };
  if (request.headers['if-none-match'] === object.etag)
    return { status: 304, headers: { etag: about.etag, 'last-modified': headers['last-modified'] } };
  const range = /^bytes=(\d*)-(\d*)$/.exec(String(request.headers.range ?? ''));
  const body = (from: number, to: number) =>
    request.method === 'HEAD' || to < from ? undefined : { file: openSync(buckets.file(bucket, key), 'r'), from, to };
  if (!range)
    return {
      status: 200,
      headers: { ...headers, 'content-length': String(object.size) },
      body: body(0, object.size - 1),
    };
  const from = range[1] ? Number(range[1]) : Math.max(0, object.size - Number(range[2]));
  const to = range[1] && range[2] ? Math.min(Number(range[2]), object.size - 1) : object.size - 1;
  if (from > to) throw new AwsError('InvalidRange', 'The requested range is not satisfiable', 416);
  for (const name of Object.keys(headers)) if (name.startsWith('x-amz-checksum-')) delete headers[name];
  return {
    status: 206,
    headers: {
      ...headers,
      'content-length': String(to - from + 1),
      'content-range': `bytes ${from}-${to}/${object.size}`,
    },
    body: body(from, to),
  };
}
