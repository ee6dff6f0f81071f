import { sdk } from '../../aws/sdk';
import { serverDate, type BucketRequests } from './bucket-requests';
import type { PresignedPost } from './types';

/** How long a presigned URL of ours lives, seconds: one command's delivery and work. */
export const URL_LIFETIME_S = 3600;

/** What the uploader adds to a form's fields. */
const CONDITIONS: ['starts-with', string, string][] = [
  ['starts-with', '$x-amz-checksum-sha256', ''],
  ['starts-with', '$Content-Type', ''],
];

/** Signs URLs and forms, for programs that have no credentials of their own. */
export class Presigner {
  constructor(private readonly requests: BucketRequests) {}

  /** A URL that reads one object for an hour (or until the session's token ends, which may be sooner). */
  async get(key: string): Promise<string> {
    const { aws, settings } = this.requests;
    try {
      const direct = await aws.presignGet(settings.bucket, key, URL_LIFETIME_S);
      if (direct) return direct;
      const { GetObjectCommand } = sdk.s3();
      return await sdk
        .presign()
        .getSignedUrl(await aws.s3(), new GetObjectCommand({ Bucket: settings.bucket, Key: key }), {
          expiresIn: URL_LIFETIME_S,
          signingDate: await serverDate(aws),
        });
    } catch (error) {
      throw this.requests.problem('STORE_PRESIGN', `Could not sign a URL for ${this.requests.name(key)}.`, error);
    }
  }

  /**
   * A form that uploads any object under a prefix, up to 5 GB each, for an hour.
   * To its fields the uploader adds `x-amz-checksum-sha256`, which S3 checks, and `Content-Type`: S3 refuses a form
   * that lacks what its policy names.
   */
  async post(prefix: string): Promise<PresignedPost> {
    const { aws, settings } = this.requests;
    const encryption: Record<string, string> = settings.kmsKeyId
      ? {
          'x-amz-server-side-encryption': 'aws:kms',
          'x-amz-server-side-encryption-aws-kms-key-id': settings.kmsKeyId,
        }
      : {};
    const fields = { ...encryption, 'x-amz-checksum-algorithm': 'SHA256' };
    try {
      const direct = await aws.presignPost(settings.bucket, prefix, {
        fields,
        conditions: CONDITIONS,
        lifetime: URL_LIFETIME_S,
      });
      if (direct) return direct;
      return await sdk.presignPost().createPresignedPost(await aws.s3(), {
        Bucket: settings.bucket,
        Key: `${prefix}\${filename}`,
        Fields: fields,
        Conditions: CONDITIONS,
        Expires: URL_LIFETIME_S,
      });
    } catch (error) {
      throw this.requests.problem('STORE_PRESIGN', `Could not sign a form for ${this.requests.name(prefix)}.`, error);
    }
  }
}
