import type { Readable } from 'node:stream';
import type { PutObjectCommandInput } from '@aws-sdk/client-s3';
import { bodySize, withJoinedBody, type Body } from '../aws/body';
import type { Aws } from '../aws/clients';
import type { Input } from '../aws/direct/operations';
import { awsCode, awsStatus } from '../aws/reason';
import { sdk } from '../aws/sdk';
import { bucketRegion } from './bucket-region';
import { BucketRequests } from './objects/bucket-requests';
import { ObjectReader } from './objects/object-reader';
import { Presigner } from './objects/presigned';
import { SigningKeys } from './signing-keys';
import { uploadStream, type StreamOptions } from './objects/stream-upload';
import { UnusableObject } from './objects/unusable';
import type { StoreSettings, PutOptions, PresignedPost, StoredKey } from './objects/types';

const NEEDS_CONDITIONS =
  'Launching an instance and "prune --apply" need them, so that two clients at once can\'t both succeed. Set "instance" to one that exists (an id, a name or tags), or use an S3 server that has them: docs/explanation/reliability.md, "What nx-ec2 needs of an S3 server".';

/** The bucket in our words. S3 is called by it, and by what it consists of, alone. */
export class Store extends ObjectReader {
  /** What the records of its runs are signed with. */
  readonly signingKeys: SigningKeys;
  private readonly presigner: Presigner;
  /** The server answered 501 to a plain write, which has no other header that could be missing there. */
  private refusesChecksums = false;

  constructor(aws: Aws, settings: StoreSettings) {
    const requests = new BucketRequests(aws, settings);
    super(requests);
    this.presigner = new Presigner(requests);
    this.signingKeys = new SigningKeys(aws, settings.bucket);
  }

  get bucket(): string {
    return this.requests.settings.bucket;
  }

  /** The bucket's region; throws a `Problem` that says what is wrong with the bucket. */
  bucketRegion(): Promise<string | undefined> {
    return bucketRegion(this.requests);
  }

  /**
   * Writes an object whole.
   * @returns false if `onlyIfNew` and the key was there already.
   */
  put(key: string, body: Buffer, options: PutOptions = {}): Promise<boolean> {
    return this.write(key, body, options);
  }

  private async write(key: string, body: Body, options: PutOptions): Promise<boolean> {
    for (let tries = 0; ; tries++) {
      // Another write may find it out before this one has its answer.
      const hadChecksums = !this.refusesChecksums;
      try {
        await this.putObject(
          {
            ...this.requests.target(key),
            ...this.requests.encryption(),
            Body: body,
            ContentType: options.contentType ?? 'application/octet-stream',
            ...(options.onlyIfNew ? { IfNoneMatch: '*' } : {}),
            ...(options.checksum ? { ChecksumSHA256: options.checksum } : {}),
          },
          options,
        );
        return true;
      } catch (error) {
        if (options.onlyIfNew && awsStatus(error) === 412) return false;
        // Servers that lack conditional writes, or checksum headers. Callers that need either get the error.
        if (awsStatus(error) === 501 && !options.checksum && (options.onlyIfNew || hadChecksums)) {
          if (options.onlyIfNew) options = { ...options, onlyIfNew: false };
          else this.refusesChecksums = true;
          continue;
        }
        // 409: another conditional write of this key was under way; S3 asks to try again.
        if (options.onlyIfNew && awsStatus(error) === 409 && tries < 5) continue;
        throw this.requests.problem('STORE_PUT', `Could not write ${this.requests.name(key)}.`, error);
      }
    }
  }

  /**
   * Writes an object if it is still what it was: compare and swap.
   * @param etag of what it is to replace; null: there is to be none.
   * @returns its new ETag, or null if another client has written it in between.
   * @throws Problem `CONDITIONAL_WRITES` where the server lacks them: a plain write could overwrite another client's.
   */
  async compareAndSwap(key: string, body: Buffer, etag: string | null): Promise<string | null> {
    try {
      const answer = await this.putObject({
        ...this.requests.target(key),
        ...this.requests.encryption(),
        Body: body,
        ContentType: 'application/json',
        ...(etag === null ? { IfNoneMatch: '*' } : { IfMatch: etag }),
      });
      return answer.ETag!;
    } catch (error) {
      if (awsStatus(error) === 501) {
        const what = `Could not write ${this.requests.name(key)}: this S3 server does not implement conditional writes.`;
        throw this.requests.problem('CONDITIONAL_WRITES', what, error, NEEDS_CONDITIONS);
      }
      if (![404, 409, 412].includes(awsStatus(error)!) || awsCode(error) === 'NoSuchBucket')
        throw this.requests.problem('STORE_PUT', `Could not write ${this.requests.name(key)}.`, error);
      // The answer to the first try may have been lost, and this be the one to its repetition.
      const there = await this.getWithETag(key, body.length).catch((error: unknown) => {
        if (error instanceof UnusableObject) return null;
        throw error;
      });
      return there?.bytes.equals(body) ? there.etag : null;
    }
  }

  private async putObject(
    input: Input<'PutObject'>,
    { signal, onWritten }: Pick<PutOptions, 'signal' | 'onWritten'> = {},
  ): Promise<{ ETag?: string }> {
    const { aws } = this.requests;
    if (!this.refusesChecksums) return aws.call('PutObject', input, signal, onWritten);
    const s3 = await aws.s3WithoutChecksums();
    const command = new (sdk.s3().PutObjectCommand)(withJoinedBody(input) as PutObjectCommandInput);
    // The client hands its options on to our handler.
    return s3.send(command, { abortSignal: signal, onWritten } as { abortSignal?: AbortSignal });
  }

  /**
   * Writes an object that is named by the hash of its bytes, unless it is there. S3 checks the hash on the way in.
   * @returns `new`, `there` (since so long, ms), or `replaced`: something else stood under its name.
   */
  async putContentAddressed(
    key: string,
    sha256: string,
    body: Body,
    options: Pick<PutOptions, 'signal' | 'onWritten'> = {},
  ): Promise<{ how: 'new' | 'there' | 'replaced'; age: number }> {
    const checksum = Buffer.from(sha256, 'hex').toString('base64');
    if (await this.write(key, body, { ...options, onlyIfNew: true, checksum })) return { how: 'new', age: 0 };
    const there = await this.headByChecksum(key, sha256, bodySize(body));
    if (there) return { how: 'there', age: (await this.now()).getTime() - there.modified };
    await this.write(key, body, { ...options, checksum });
    return { how: 'replaced', age: 0 };
  }

  /** Opens the connection that the next request uses. */
  connect(): void {
    this.requests.aws.connect('s3', this.bucket);
  }

  /** Deletes an object. Resolves when the request is sent: nobody waits for S3, and a prune deletes what remains. */
  async deleteUnwaited(key: string): Promise<void> {
    await new Promise<void>((resolve) => {
      const sent = () => resolve();
      this.requests.aws.call('DeleteObject', this.requests.target(key), undefined, sent).then(sent, sent);
    });
  }

  async delete(keys: string[]): Promise<void> {
    if (keys.length === 0) return;
    const { DeleteObjectCommand, DeleteObjectsCommand } = sdk.s3();
    const s3 = await this.requests.aws.s3();
    try {
      if (keys.length === 1) {
        await s3.send(new DeleteObjectCommand(this.requests.target(keys[0])));
        return;
      }
      for (let from = 0; from < keys.length; from += 1000) {
        const answer = await s3.send(
          new DeleteObjectsCommand({
            Bucket: this.requests.settings.bucket,
            ExpectedBucketOwner: this.requests.settings.bucketOwner,
            Delete: { Objects: keys.slice(from, from + 1000).map((Key) => ({ Key })), Quiet: true },
          }),
        );
        const failed = answer.Errors?.[0];
        if (failed)
          throw Object.assign(new Error(failed.Message), { name: failed.Code, $metadata: { httpStatusCode: 200 } });
      }
    } catch (error) {
      throw this.requests.problem(
        'STORE_DELETE',
        `Could not remove ${this.requests.name(keys[0])}${keys.length > 1 ? ` and ${keys.length - 1} more` : ''}.`,
        error,
      );
    }
  }

  /** Uploads a stream of unknown length; given up cleanly on an error. */
  upload(key: string, body: Readable, options?: StreamOptions): Promise<void> {
    return uploadStream(this.requests, key, body, options);
  }

  /**
   * The keys that begin with a prefix, sorted, each with its size and time; only those after `after` where it is given.
   * @param limit how many. @throws Problem `STORE_TOO_MANY` where there are more.
   */
  list(prefix: string, limit: number, after?: string): Promise<StoredKey[]> {
    return this.listing.list(prefix, limit, after);
  }

  /** The same, up to 1,000 at a time, as S3 has them at that moment. */
  pages(prefix: string, after?: string): AsyncGenerator<StoredKey[]> {
    return this.listing.pages(prefix, after);
  }

  /** The names of the "directories" below a prefix: see `ObjectListing`. */
  listDirectories(prefix: string, limit: number): Promise<string[]> {
    return this.listing.listDirectories(prefix, limit);
  }

  /** The first of them. */
  listFirstDirectories(
    prefix: string,
    limit: number,
    after?: string,
  ): Promise<{ names: string[]; isPartial: boolean }> {
    return this.listing.listFirstDirectories(prefix, limit, after);
  }

  /** A URL that reads one object for an hour (or until the session's token ends, which may be sooner). */
  presignGet(key: string): Promise<string> {
    return this.presigner.get(key);
  }

  /** A form that uploads any object under a prefix for an hour: see `Presigner`. */
  presignPost(prefix: string): Promise<PresignedPost> {
    return this.presigner.post(prefix);
  }
}
