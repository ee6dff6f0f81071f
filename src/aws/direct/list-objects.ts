import type { IncomingMessage } from 'node:http';
import type { HeadBucketCommandInput, ListObjectsV2CommandInput } from '@aws-sdk/client-s3';
import type { Unsigned } from './http';
import { encodeStrictly, given } from './objects';

export type HeadBucketInput = Pick<HeadBucketCommandInput, 'Bucket' | 'ExpectedBucketOwner'>;

export interface HeadBucketOutput {
  BucketRegion?: string;
}

export function headBucketRequest({ ExpectedBucketOwner: owner }: HeadBucketInput): Unsigned {
  return { method: 'HEAD', path: '/', headers: given({ 'x-amz-expected-bucket-owner': owner }) };
}

export function parseHeadBucket(answer: IncomingMessage): HeadBucketOutput {
  answer.resume();
  const region = answer.headers['x-amz-bucket-region'];
  return { BucketRegion: typeof region === 'string' ? region : undefined };
}

export type ListObjectsInput = Pick<
  ListObjectsV2CommandInput,
  'Bucket' | 'ExpectedBucketOwner' | 'Prefix' | 'Delimiter' | 'StartAfter' | 'MaxKeys' | 'ContinuationToken'
>;

export interface ListObjectsOutput {
  Contents?: { Key?: string; ETag?: string; Size?: number; LastModified?: Date }[];
  CommonPrefixes?: { Prefix?: string }[];
  IsTruncated?: boolean;
  NextContinuationToken?: string;
}

export function listObjectsRequest(input: ListObjectsInput): Unsigned {
  const query = given({
    'continuation-token': input.ContinuationToken,
    delimiter: input.Delimiter,
    'list-type': '2',
    'max-keys': input.MaxKeys?.toString(),
    prefix: input.Prefix,
    'start-after': input.StartAfter,
  });
  const pairs = Object.entries(query).map(([name, value]) => `${name}=${encodeStrictly(value)}`);
  return {
    method: 'GET',
    path: `/?${pairs.join('&')}`,
    headers: given({ 'x-amz-expected-bucket-owner': input.ExpectedBucketOwner }),
  };
}

/** @throws Error where it is no answer of ListObjectsV2, or a part of one that does not say how to get the next. */
export function parseListObjects(xml: string): ListObjectsOutput {
  if (!/<ListBucketResult[\s>]/.test(xml) || !/<\/ListBucketResult>\s*$/.test(xml) || xml.includes('<!['))
    throw new Error('no ListBucketResult');
  const within = (name: string) =>
    [...xml.matchAll(new RegExp(`<${name}>([^]*?)</${name}>`, 'g'))].map(([, text]) => text);
  // What lies around them has elements of the same names.
  const around = xml.replace(/<(Contents|CommonPrefixes)>[^]*?<\/\1>/g, '');
  const IsTruncated = element(around, 'IsTruncated') === 'true';
  const NextContinuationToken = element(around, 'NextContinuationToken');
  if (!/<(Name|KeyCount|IsTruncated)>/.test(around) || (IsTruncated && !NextContinuationToken))
    throw new Error('not the whole of a list');
  return {
    Contents: within('Contents').map((object) => {
      const [size, modified] = [element(object, 'Size'), element(object, 'LastModified')];
      return {
        Key: element(object, 'Key'),
        ETag: element(object, 'ETag'),
        Size: size === undefined ? undefined : Number(size),
        LastModified: modified === undefined ? undefined : new Date(modified),
      };
    }),
    CommonPrefixes: within('CommonPrefixes').map((group) => ({ Prefix: element(group, 'Prefix') })),
    IsTruncated,
    NextContinuationToken,
  };
}

function element(xml: string, name: string): string | undefined {
  const text = new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1];
  return text?.replace(/&(#x?)?(\w+);/g, (whole, number: string | undefined, what: string) => {
    if (number) return String.fromCodePoint(parseInt(what, number === '#x' ? 16 : 10));
    const character = ENTITIES[what];
    if (character === undefined) throw new Error(`the entity ${whole}`);
    return character;
  });
}

const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
