import type { CountedUpload } from '../../aws/http-handler';

export interface StoreSettings {
  bucket: string;
  /** Of the store in its bucket; absent: the bucket's root. */
  prefix?: string;
  /** 12 digits: every call says whose bucket it expects. */
  bucketOwner?: string;
  /** The KMS key that objects are encrypted with; absent: the bucket's own default. */
  kmsKeyId?: string;
}

/** What a form upload needs (S3 presigned POST). */
export interface PutOptions extends CountedUpload {
  onlyIfNew?: boolean;
  contentType?: string;
  /** SHA-256 of the body in base64, which S3 checks. */
  checksum?: string;
  signal?: AbortSignal;
}

export interface PresignedPost {
  url: string;
  fields: Record<string, string>;
}

export interface StoredKey {
  key: string;
  /** bytes */
  size: number;
  /** ms since the epoch, by S3's clock. */
  modified: number;
}

/** An object as it was at one moment. */
export interface StoredVersion {
  bytes: Buffer;
  etag: string;
  /** ms since the epoch, by S3's clock. */
  modified: number;
  /** When S3 answered, by its clock, ms since the epoch, to a second: how old it is needs no clock of ours. */
  answered: number;
}

/** What an S3 server says of an object besides its content. */
export interface ObjectVersion {
  /** Absent where the bucket keeps no versions. */
  version?: string;
  /** Object Lock: until then it can't be deleted; absent also for a caller who may not see it. */
  lockedUntil?: Date;
}
