import type { PutObjectCommandInput } from '@aws-sdk/client-s3';
import type { Aws } from '../../aws/clients';
import { awsCode, awsProblem, awsStatus } from '../../aws/reason';
import type { ErrorCode } from '../../report/error-codes';
import { shellWord } from '../../report/shell-words';
import { missingBucket, namedRegion } from './bucket';
import type { StoreSettings } from './types';

/** What all requests to the bucket have in common: how they name it, and what is wrong where S3 refuses one. */
export class BucketRequests {
  constructor(
    readonly aws: Aws,
    readonly settings: StoreSettings,
  ) {}

  target(key: string) {
    return { Bucket: this.settings.bucket, Key: key, ExpectedBucketOwner: this.settings.bucketOwner };
  }

  encryption(): Pick<PutObjectCommandInput, 'ServerSideEncryption' | 'SSEKMSKeyId'> {
    return this.settings.kmsKeyId ? { ServerSideEncryption: 'aws:kms', SSEKMSKeyId: this.settings.kmsKeyId } : {};
  }

  name(key: string): string {
    return `s3://${this.settings.bucket}/${key}`;
  }

  problem(code: ErrorCode, what: string, error: unknown, next?: string, settings?: readonly string[]) {
    return awsProblem(code, what, error, next ?? this.remedy(error), settings);
  }

  /** What to do about what is wrong with the bucket or with the server, whatever was asked of it; undefined for the rest. */
  private remedy(error: unknown): string | undefined {
    const { bucket } = this.settings;
    const status = awsStatus(error);
    const code = awsCode(error);
    const region = namedRegion(error);
    if (code === 'NoSuchBucket') return missingBucket(bucket);
    if (status === 301 || code === 'PermanentRedirect' || code === 'AuthorizationHeaderMalformed') {
      return region
        ? `The bucket ${bucket} is in ${region}: set "region" to ${region}.`
        : `The bucket ${bucket} is in another region: set "region" to that of the bucket (aws s3api get-bucket-location --bucket ${shellWord(bucket)}).`;
    }
    if (status === 307)
      return `S3 redirects requests for ${bucket} at the moment, as it does for some hours after a bucket was created. Set "region" to that of the bucket${region ? ` (${region})` : ''}, and try again in a few minutes.`;
    if (status === 501)
      return 'This S3 server lacks a feature that the request needs: nx run <project>:remote-doctor names it. With "sync": {"transport": "auto"}, files are sent as an archive instead.';
    return undefined;
  }
}

/** Now by the server's clock, as far as its answers have told the difference. */
export async function serverDate(aws: Aws): Promise<Date> {
  return new Date(await aws.now());
}
