import { sdk } from '../../aws/sdk';
import { serverDate, type BucketRequests } from './bucket-requests';
import type { PresignedPost } from './types';

/** How long a presigned URL of ours lives, seconds: one command's delivery and work. */
export const URL_LIFETIME_S = 3600;

/** Signs URLs and forms, for programs that have no credentials of their own. */
export class Presigner {
  constructor(private readonly requests: BucketRequests) {}

  /** A URL that reads one object for an hour (or until the session's token ends, which may be sooner). */
  async get(key: string): Promise<string> {
    const [{ GetObjectCommand }, { getSignedUrl }, s3] = await Promise.all([
      sdk.s3(),
      sdk.presign(),
      this.requests.aws.s3(),
    ]);
    try {
      return await getSignedUrl(s3, new GetObjectCommand({ Bucket: this.requests.settings.bucket, Key: key }), {
        expiresIn: URL_LIFETIME_S,
        signingDate: serverDate(s3),
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
    const { createPresignedPost } = sdk.presignPost();
    const s3 = await this.requests.aws.s3();
    const encryption: Record<string, string> = this.requests.settings.kmsKeyId
      ? {
          'x-amz-server-side-encryption': 'aws:kms',
          'x-amz-server-side-encryption-aws-kms-key-id': this.requests.settings.kmsKeyId,
        }
      : {};
    try {
      return await createPresignedPost(s3, {
        Bucket: this.requests.settings.bucket,
        Key: `${prefix}\${filename}`,
        Fields: { ...encryption, 'x-amz-checksum-algorithm': 'SHA256' },
        Conditions: [
          ['starts-with', '$x-amz-checksum-sha256', ''],
          ['starts-with', '$Content-Type', ''],
        ],
        Expires: URL_LIFETIME_S,
      });
    } catch (error) {
      throw this.requests.problem('STORE_PRESIGN', `Could not sign a form for ${this.requests.name(prefix)}.`, error);
    }
  }
}
