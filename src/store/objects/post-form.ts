import { randomUUID } from 'node:crypto';
import type { Aws } from '../../aws/clients';
import type { PresignedPost } from './types';

/** What the handler of the SDK takes as a request. */
interface PlainRequest {
  method: string;
  protocol: string;
  hostname: string;
  port?: number;
  path: string;
  query: Record<string, string>;
  headers: Record<string, string>;
  body: Buffer;
}

/**
 * Uploads by a presigned form, over the connections of the S3 client, with its proxy and its authorities.
 * @returns the HTTP status of the answer.
 */
export async function postForm(
  aws: Aws,
  { url }: PresignedPost,
  fields: Record<string, string>,
  body: Buffer,
): Promise<number> {
  const boundary = randomUUID();
  const part = (disposition: string, value: string) =>
    `--${boundary}\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n${value}`;
  const data = Buffer.concat([
    ...Object.entries(fields).map(([name, value]) => Buffer.from(`${part(`name="${name}"`, value)}\r\n`)),
    Buffer.from(part('name="file"; filename="file"', '')),
    body,
    Buffer.from(`\r\n--${boundary}--\r\n`),
  ]);
  const { protocol, hostname, port, pathname, host } = new URL(url);
  const request: PlainRequest = {
    method: 'POST',
    protocol,
    hostname,
    path: pathname,
    query: {},
    body: data,
    ...(port ? { port: Number(port) } : {}),
    headers: {
      host,
      'content-type': `multipart/form-data; boundary=${boundary}`,
      'content-length': String(data.length),
    },
  };
  const { requestHandler } = (await aws.s3()).config;
  const { response } = await requestHandler.handle(request as Parameters<typeof requestHandler.handle>[0]);
  // The connection is free again when its answer was read.
  (response.body as NodeJS.ReadableStream | undefined)?.resume();
  return response.statusCode;
}
