import { createHash } from 'node:crypto';
import type { S3Client } from '@aws-sdk/client-s3';
import type { Aws } from '../aws/clients';
import { awsProblem, awsStatus } from '../aws/reason';
import { sdk } from '../aws/sdk';
import { namedRegion } from './objects/bucket';
import { Problem } from '../report/problem';
import { formatCount } from '../report/units';

interface DataObject {
  Key: string;
  ETag: string;
  Size: number;
}

/** More are not listed, here and on the instance: all of them are in memory, and each is a file of its own. */
const MAX_OBJECTS = 2_000_000;

/** S3 answers the same to a caller who may not list a bucket and to one who does not offer to pay. */
const DENIED =
  "The caller needs s3:ListBucket on that bucket. A requester-pays bucket can't be read: copy the data to a bucket of your own (aws s3 sync --request-payer requester).";

/**
 * The version of data in S3, `s3://<bucket>[/<prefix>]`, as the instance will find it: docs/reference/formats.md, "Data".
 * @throws Problem where it can't be listed, nothing is there, or more objects than the limit.
 */
export async function dataVersion(aws: Aws, source: string, limit = MAX_OBJECTS): Promise<string> {
  const [, bucket, rest = ''] = /^s3:\/\/([^/]+)(?:\/(.*))?$/s.exec(source)!;
  const prefix = rest.replace(/\/+$/, '');
  const what = `The data ${source} could not be listed.`;
  // Of one object, that is its key: its copy is named otherwise than the copy of a prefix with this object alone.
  let start = prefix && `${prefix}/`;
  let objects: DataObject[];
  try {
    const s3 = await clientOf(aws, bucket);
    objects = await list(s3, { bucket, prefix: start, source, limit });
    if (!objects.length && prefix) objects = await one(s3, bucket, (start = prefix));
  } catch (error) {
    throw awsProblem('DATA', what, error, awsStatus(error) === 403 ? DENIED : undefined, ['train.datasets']);
  }
  if (!objects.some(({ Key }) => !Key.endsWith('/')))
    throw new Problem('DATA', `${what} No object has this name.`, { settings: ['train.datasets'] });
  return versionOf(bucket, start, objects);
}

/**
 * SHA-256 over the bucket, the start of the keys that the paths in the copy lack, and each key, ETag and size, sorted by
 * the keys' bytes. Empty objects that stand for directories count as well: the copy has these directories.
 */
export function versionOf(bucket: string, start: string, objects: DataObject[]): string {
  const hash = createHash('sha256').update(`nx-ec2 data 2\0${bucket}\0${start}\0`);
  const sorted = objects
    .map((object) => ({ ...object, bytes: Buffer.from(object.Key) }))
    .sort((a, b) => Buffer.compare(a.bytes, b.bytes));
  for (const { bytes, ETag, Size } of sorted) hash.update(bytes).update(`\0${ETag.replace(/^"+|"+$/g, '')}\0${Size}\0`);
  return hash.digest('hex');
}

/** A client of the bucket's region: S3 says which, to whoever asks elsewhere. */
async function clientOf(aws: Aws, bucket: string): Promise<S3Client> {
  const { HeadBucketCommand } = sdk.s3();
  const s3 = await aws.s3();
  try {
    await s3.send(new HeadBucketCommand({ Bucket: bucket }));
  } catch (error) {
    const region = namedRegion(error);
    if ((awsStatus(error) === 301 || awsStatus(error) === 400) && region) return aws.s3(region);
    if (awsStatus(error) !== 403) throw error;
    // Listing it says why.
  }
  return s3;
}

async function list(
  client: S3Client,
  { bucket: Bucket, prefix: Prefix, source, limit }: { bucket: string; prefix: string; source: string; limit: number },
): Promise<DataObject[]> {
  const found: DataObject[] = [];
  for await (const { Contents = [] } of sdk.s3().paginateListObjectsV2({ client }, { Bucket, Prefix })) {
    for (const { Key, ETag, Size } of Contents) found.push({ Key: Key!, ETag: ETag!, Size: Size! });
    if (found.length > limit)
      throw new Problem('DATA', `The data ${source} holds more than ${formatCount(limit, 'object')}.`, {
        next: 'Pack them into archives, or name a prefix with fewer.',
        settings: ['train.datasets'],
      });
  }
  return found;
}

/** The object of that very key, where there is one. */
async function one(s3: S3Client, Bucket: string, Key: string): Promise<DataObject[]> {
  const { HeadObjectCommand } = sdk.s3();
  try {
    const { ETag, ContentLength } = await s3.send(new HeadObjectCommand({ Bucket, Key }));
    return [{ Key, ETag: ETag!, Size: ContentLength! }];
  } catch (error) {
    if (awsStatus(error) === 404) return [];
    throw error;
  }
}
