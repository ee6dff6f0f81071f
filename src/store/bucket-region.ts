import { awsStatus } from '../aws/reason';
import { isRegionId } from '../config/syntax/region-id';
import { missingBucket, namedRegion } from './objects/bucket';
import type { BucketRequests } from './objects/bucket-requests';
import { storeBase } from './keys';

/** The bucket's region; throws a `Problem` that says what is wrong with the bucket. */
export async function bucketRegion(requests: BucketRequests): Promise<string | undefined> {
  const bucket = requests.settings.bucket;
  try {
    const input = { Bucket: bucket, ExpectedBucketOwner: requests.settings.bucketOwner };
    const { BucketRegion: told } = await requests.aws.call('HeadBucket', input);
    return told && isRegionId(told) ? told : undefined;
  } catch (error) {
    const status = awsStatus(error);
    const region = namedRegion(error);
    if (status === 404) {
      throw requests.problem('BUCKET_MISSING', `The bucket ${bucket} does not exist.`, error, missingBucket(bucket), [
        'bucket',
        'region',
      ]);
    }
    if (status === 301 || status === 400) {
      if (region) return region;
    }
    if (status === 403) {
      // A caller may be allowed to list the store's prefix and nothing else of the bucket.
      if (requests.settings.prefix && (await mayList(requests, storeBase(requests.settings.prefix)))) return region;
      throw requests.problem(
        'BUCKET_FORBIDDEN',
        `The bucket ${bucket} can't be used with the current credentials${requests.settings.bucketOwner ? `, or does not belong to account ${requests.settings.bucketOwner}` : ''}.`,
        error,
        "The caller needs s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject on it. A requester-pays bucket of another account can't be used.",
        ['bucket', 'prefix', 'bucketOwner', 'profile', 'roleArn'],
      );
    }
    throw requests.problem('BUCKET', `The bucket ${bucket} could not be reached.`, error);
  }
}

async function mayList(requests: BucketRequests, prefix: string): Promise<boolean> {
  const { bucket, bucketOwner } = requests.settings;
  const request = { Bucket: bucket, ExpectedBucketOwner: bucketOwner, Prefix: prefix, MaxKeys: 1 };
  return requests.aws.call('ListObjectsV2', request).then(
    () => true,
    () => false,
  );
}
