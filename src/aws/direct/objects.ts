import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type {
  DeleteObjectCommandInput,
  GetObjectCommandInput,
  GetObjectCommandOutput,
  HeadObjectCommandInput,
  HeadObjectCommandOutput,
  PutObjectCommandInput,
} from '@aws-sdk/client-s3';
import type { Unsigned } from './http';

/** Larger bodies are the SDK's, bytes. */
export const MAX_BODY_BYTES = 32 * 1024 * 1024;

export type GetObjectInput = Pick<
  GetObjectCommandInput,
  'Bucket' | 'Key' | 'ExpectedBucketOwner' | 'Range' | 'IfNoneMatch'
>;

export interface GetObjectOutput extends Pick<GetObjectCommandOutput, 'ETag' | 'ContentLength' | 'LastModified'> {
  Body?: unknown;
}

export type HeadObjectInput = Pick<HeadObjectCommandInput, 'Bucket' | 'Key' | 'ExpectedBucketOwner' | 'ChecksumMode'>;

export type HeadObjectOutput = Pick<
  HeadObjectCommandOutput,
  'ETag' | 'ContentLength' | 'LastModified' | 'ChecksumSHA256' | 'StorageClass'
>;

export type PutObjectInput = Pick<
  PutObjectCommandInput,
  | 'Bucket'
  | 'Key'
  | 'ExpectedBucketOwner'
  | 'ServerSideEncryption'
  | 'SSEKMSKeyId'
  | 'ContentType'
  | 'IfMatch'
  | 'IfNoneMatch'
  | 'ChecksumSHA256'
> & { Body?: unknown };

export interface PutObjectOutput {
  ETag?: string;
}

/** The path of a key, as S3 signs it: everything but the slashes is percent-encoded. */
export function keyPath(key: string): string {
  return `/${key.split('/').map(encodeStrictly).join('/')}`;
}

/** All but letters, digits and `-_.~` percent-encoded. */
export function encodeStrictly(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

export function getObjectRequest({
  Key,
  ExpectedBucketOwner: owner,
  Range,
  IfNoneMatch,
}: GetObjectInput): Unsigned | undefined {
  if (!isPlainKey(Key)) return undefined;
  return {
    method: 'GET',
    path: keyPath(Key),
    headers: given({ 'x-amz-expected-bucket-owner': owner, Range, 'If-None-Match': IfNoneMatch }),
  };
}

export function parseGetObject(answer: IncomingMessage): GetObjectOutput {
  const { headers } = answer;
  const number = (text?: string) => (text === undefined ? undefined : Number(text));
  return {
    Body: answer,
    ETag: headers.etag,
    ContentLength: number(headers['content-length']),
    LastModified: headers['last-modified'] ? new Date(headers['last-modified']) : undefined,
  };
}

export function headObjectRequest(input: HeadObjectInput): Unsigned | undefined {
  if (!isPlainKey(input.Key)) return undefined;
  return {
    method: 'HEAD',
    path: keyPath(input.Key),
    headers: given({
      'x-amz-expected-bucket-owner': input.ExpectedBucketOwner,
      'x-amz-checksum-mode': input.ChecksumMode,
    }),
  };
}

export function parseHeadObject(answer: IncomingMessage): HeadObjectOutput {
  const { ETag, ContentLength, LastModified } = parseGetObject(answer);
  answer.resume();
  const text = (name: string) => answer.headers[name] as string | undefined;
  return {
    ETag,
    ContentLength,
    LastModified,
    ChecksumSHA256: text('x-amz-checksum-sha256'),
    StorageClass: text('x-amz-storage-class') as HeadObjectOutput['StorageClass'],
  };
}

export function putObjectRequest(input: PutObjectInput): Unsigned | undefined {
  const { Key, Body } = input;
  const parts = Array.isArray(Body) ? (Body as readonly Buffer[]) : Buffer.isBuffer(Body) ? [Body] : undefined;
  const size = parts?.reduce((sum, { length }) => sum + length, 0);
  if (!isPlainKey(Key) || !parts || size === undefined || size > MAX_BODY_BYTES) return undefined;
  const checksum = input.ChecksumSHA256 ?? checksumOf(parts);
  return {
    method: 'PUT',
    path: keyPath(Key),
    headers: given({
      'Content-Type': input.ContentType,
      'Content-Length': String(size),
      'x-amz-expected-bucket-owner': input.ExpectedBucketOwner,
      'x-amz-server-side-encryption': input.ServerSideEncryption,
      'x-amz-server-side-encryption-aws-kms-key-id': input.SSEKMSKeyId,
      'If-Match': input.IfMatch,
      'If-None-Match': input.IfNoneMatch,
      // S3 checks it, and a bucket with Object Lock requires one.
      'x-amz-checksum-sha256': checksum,
      // The signature would hash the body once more.
      'X-Amz-Content-Sha256': Buffer.from(checksum, 'base64').toString('hex'),
    }),
    body: parts,
  };
}

function checksumOf(parts: readonly Buffer[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('base64');
}

export function parsePutObject(answer: IncomingMessage): PutObjectOutput {
  answer.resume();
  return { ETag: answer.headers.etag };
}

export type DeleteObjectInput = Pick<DeleteObjectCommandInput, 'Bucket' | 'Key' | 'ExpectedBucketOwner'>;

export function deleteObjectRequest({ Key, ExpectedBucketOwner: owner }: DeleteObjectInput): Unsigned | undefined {
  if (!isPlainKey(Key)) return undefined;
  return { method: 'DELETE', path: keyPath(Key), headers: given({ 'x-amz-expected-bucket-owner': owner }) };
}

export function parseDeleteObject(answer: IncomingMessage): object {
  answer.resume();
  return {};
}

/** No segment that a URL's path would be resolved by. */
export function isPlainKey(key: string | undefined): key is string {
  return key !== undefined && key !== '' && !/(^|\/)\.{1,2}(\/|$)|\/\/|^\//.test(key);
}

export function given(headers: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).filter((header): header is [string, string] => header[1] !== undefined),
  );
}
