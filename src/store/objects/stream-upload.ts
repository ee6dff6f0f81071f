import type { Readable } from 'node:stream';
import { sdk } from '../../aws/sdk';
import type { BucketRequests } from './bucket-requests';

const PART_BYTES = 8 * 1024 * 1024;
/** Parts on their way at once. */
const CONCURRENT_PARTS = 4;

export interface StreamOptions {
  /** Told of the bytes sent so far. */
  onProgress?: (bytes: number) => void;
  signal?: AbortSignal;
  /** false: S3 is sent no checksum; the reader must know the hash. */
  checksums?: boolean;
}

/**
 * Uploads a stream of unknown length: one PUT when small, multipart when large; given up cleanly on an error.
 */
export async function uploadStream(
  requests: BucketRequests,
  key: string,
  body: Readable,
  { onProgress, signal, checksums = true }: StreamOptions = {},
): Promise<void> {
  const { Upload } = sdk.upload();
  const s3 = await (checksums ? requests.aws.s3() : requests.aws.s3WithoutChecksums());
  const upload = new Upload({
    client: s3,
    params: { ...requests.target(key), ...requests.encryption(), Body: body, ContentType: 'application/gzip' },
    queueSize: CONCURRENT_PARTS,
    partSize: PART_BYTES,
  });
  upload.on('httpUploadProgress', (progress) => onProgress?.(progress.loaded ?? 0));
  const abort = () => void upload.abort();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    await upload.done();
  } catch (error) {
    if (upload.uploadId) await forgetUpload(requests, key, upload.uploadId);
    throw requests.problem('STORE_PUT', `Could not upload ${requests.name(key)}.`, error);
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/** Removes the parts of an upload that was given up: lib-storage does not wait for that when it is aborted. */
async function forgetUpload(requests: BucketRequests, key: string, uploadId: string): Promise<void> {
  const { AbortMultipartUploadCommand } = sdk.s3();
  const s3 = await requests.aws.s3();
  // What can't be removed now is the bucket's lifecycle rule to remove; why the upload failed is what matters.
  await s3
    .send(new AbortMultipartUploadCommand({ ...requests.target(key), UploadId: uploadId }))
    .catch(() => undefined);
}
