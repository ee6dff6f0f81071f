import type { Readable } from 'node:stream';
import type { GetObjectCommandOutput, PutObjectCommandInput, S3Client } from '@aws-sdk/client-s3';
import type { Aws } from '../aws/clients';
import { awsCode, awsProblem, awsStatus } from '../aws/reason';
import { sdk } from '../aws/sdk';
import type { ErrorCode } from '../report/error-codes';
import { Problem } from '../report/problem';
import { formatCount } from '../report/units';
import { storeBase } from './keys';
import { RecordKeys } from './record-keys';
import { shellWord } from '../report/shell-words';
import type { StoreSettings, PutOptions, PresignedPost, StoredKey, StoredVersion, ObjectVersion } from './types';
import { StoreTooLarge } from './too-large';
import { namedRegion, missingBucket } from './bucket';

const NEEDS_CONDITIONS =
  'Launching an instance and "prune --apply" need them, so that two clients at once can\'t both succeed. Set "instance" to one that exists (an id, a name or tags), or use an S3 server that has them: docs/explanation/reliability.md, "What nx-ec2 needs of an S3 server".';

/** How long a presigned URL of ours lives, seconds: one command's delivery and work. */
export const URL_LIFETIME = 3600;

/** The bucket in our words. The only place where S3 is called. */
export class Store {
  /** What the records of its runs are signed with. */
  readonly recordKeys: RecordKeys;
  /** The server answered 501 to a plain write, which has no other header that could be missing there. */
  private refusesChecksums = false;

  constructor(
    private readonly aws: Aws,
    private readonly settings: StoreSettings,
  ) {
    this.recordKeys = new RecordKeys(aws, settings.bucket);
  }

  get bucket(): string {
    return this.settings.bucket;
  }

  /**
   * Writes an object whole.
   * @returns false if `onlyIfNew` and the key was there already.
   */
  async put(key: string, body: Buffer, options: PutOptions = {}): Promise<boolean> {
    const { PutObjectCommand } = sdk.s3();
    for (let tries = 0; ; tries++) {
      const s3 = await (this.refusesChecksums ? this.aws.s3WithoutChecksums() : this.aws.s3());
      try {
        await s3.send(
          new PutObjectCommand({
            ...this.target(key),
            ...this.encryption(),
            Body: body,
            ContentType: options.contentType ?? 'application/octet-stream',
            ...(options.onlyIfNew ? { IfNoneMatch: '*' } : {}),
            ...(options.checksum ? { ChecksumSHA256: options.checksum } : {}),
          }),
          // The client hands its options on to our handler.
          { abortSignal: options.signal, onWritten: options.onWritten } as { abortSignal?: AbortSignal },
        );
        return true;
      } catch (error) {
        if (options.onlyIfNew && awsStatus(error) === 412) return false;
        // Servers that lack conditional writes, or checksum headers. Callers that need either get the error.
        if (awsStatus(error) === 501 && !options.checksum && (options.onlyIfNew || !this.refusesChecksums)) {
          if (options.onlyIfNew) options = { ...options, onlyIfNew: false };
          else this.refusesChecksums = true;
          continue;
        }
        // 409: another conditional write of this key was under way; S3 asks to try again.
        if (options.onlyIfNew && awsStatus(error) === 409 && tries < 5) continue;
        throw this.problem('STORE_PUT', `Could not write ${this.name(key)}.`, error);
      }
    }
  }

  /**
   * Writes an object if it is still what it was: compare and swap.
   * @param etag of what it is to replace; null: there is to be none.
   * @returns its new ETag, or null where somebody else has written meanwhile.
   * @throws Problem `CONDITIONAL_WRITES` where the server lacks them: a plain write could overwrite another client's.
   */
  async compareAndSwap(key: string, body: Buffer, etag: string | null): Promise<string | null> {
    const { PutObjectCommand } = sdk.s3();
    const s3 = await (this.refusesChecksums ? this.aws.s3WithoutChecksums() : this.aws.s3());
    try {
      const answer = await s3.send(
        new PutObjectCommand({
          ...this.target(key),
          ...this.encryption(),
          Body: body,
          ContentType: 'application/json',
          ...(etag === null ? { IfNoneMatch: '*' } : { IfMatch: etag }),
        }),
      );
      return answer.ETag!;
    } catch (error) {
      if (awsStatus(error) === 501) {
        const what = `Could not write ${this.name(key)}: this S3 server does not implement conditional writes.`;
        throw this.problem('CONDITIONAL_WRITES', what, error, NEEDS_CONDITIONS);
      }
      if (![404, 409, 412].includes(awsStatus(error)!) || awsCode(error) === 'NoSuchBucket')
        throw this.problem('STORE_PUT', `Could not write ${this.name(key)}.`, error);
      // The answer to the first try may have been lost, and this be the one to its repetition.
      const there = await this.getWithETag(key, body.length).catch((error: unknown) => {
        if (error instanceof StoreTooLarge) return null;
        throw error;
      });
      return there?.bytes.equals(body) ? there.etag : null;
    }
  }

  /**
   * Writes an object that is named by the hash of its bytes, unless it is there. S3 checks the hash on the way in.
   * @returns `new`, `there` (since so long, ms), or `replaced`: something else stood under its name.
   */
  async putContentAddressed(
    key: string,
    sha256: string,
    body: Buffer,
    options: Pick<PutOptions, 'signal' | 'onWritten'> = {},
  ): Promise<{ how: 'new' | 'there' | 'replaced'; age: number }> {
    const checksum = Buffer.from(sha256, 'hex').toString('base64');
    if (await this.put(key, body, { ...options, onlyIfNew: true, checksum })) return { how: 'new', age: 0 };
    const there = await this.headByChecksum(key, sha256, body.length);
    if (there) return { how: 'there', age: (await this.now()).getTime() - there.modified };
    await this.put(key, body, { ...options, checksum });
    return { how: 'replaced', age: 0 };
  }

  /** Whether something is there under a key: asked where writing it again would cost more. */
  async has(key: string): Promise<boolean> {
    const { HeadObjectCommand } = sdk.s3();
    const s3 = await this.aws.s3();
    try {
      await s3.send(new HeadObjectCommand(this.target(key)));
      return true;
    } catch {
      // Whoever writes it next says what is wrong.
      return false;
    }
  }

  /** Whether an object is there and is, by the hash that S3 keeps of it, what its name says. */
  async hasChecksum(key: string, sha256: string, size: number): Promise<boolean> {
    return (await this.headByChecksum(key, sha256, size)) !== null;
  }

  /** When it was written, ms since the epoch; null where it is not what its name says. */
  private async headByChecksum(key: string, sha256: string, size: number): Promise<{ modified: number } | null> {
    const { HeadObjectCommand } = sdk.s3();
    const s3 = await this.aws.s3();
    try {
      const head = await s3.send(new HeadObjectCommand({ ...this.target(key), ChecksumMode: 'ENABLED' }));
      const named = head.ChecksumSHA256 === Buffer.from(sha256, 'hex').toString('base64');
      return named && head.ContentLength === size ? { modified: head.LastModified?.getTime() ?? 0 } : null;
    } catch (error) {
      // Removed meanwhile, or not to be asked.
      if (awsStatus(error) === 404 || awsStatus(error) === 403) return null;
      throw this.problem('STORE_GET', `Could not look at ${this.name(key)}.`, error);
    }
  }

  /**
   * The keys that begin with a prefix, sorted, each with its size and time; only those after `after` where it is given.
   * @param limit how many. @throws Problem `STORE_TOO_MANY` where there are more.
   */
  async list(prefix: string, limit: number, after?: string): Promise<StoredKey[]> {
    const found: StoredKey[] = [];
    for await (const page of this.pages(prefix, after)) {
      found.push(...page);
      if (found.length > limit) throw this.tooMany(prefix, limit);
    }
    return found;
  }

  /** The same, up to 1,000 at a time, as S3 has them at that moment. */
  async *pages(prefix: string, after?: string): AsyncGenerator<StoredKey[]> {
    const { ListObjectsV2Command } = sdk.s3();
    const s3 = await this.aws.s3();
    let token: string | undefined;
    do {
      const request = new ListObjectsV2Command({
        Bucket: this.settings.bucket,
        ExpectedBucketOwner: this.settings.bucketOwner,
        Prefix: prefix,
        StartAfter: after,
        ContinuationToken: token,
      });
      const answer = await s3.send(request).catch((error: unknown) => {
        throw this.problem('STORE_LIST', `Could not list ${this.name(prefix)}.`, error);
      });
      token = answer.NextContinuationToken;
      yield (answer.Contents ?? []).map(({ Key, Size, LastModified }) => ({
        key: Key!,
        size: Size ?? 0,
        modified: LastModified?.getTime() ?? 0,
      }));
    } while (token);
  }

  /**
   * What the keys below a prefix go on with up to the next slash: the names of its "directories", sorted.
   * @param limit how many. @throws Problem `STORE_TOO_MANY` where there are more.
   */
  async listDirectories(prefix: string, limit: number): Promise<string[]> {
    const { names, isPartial } = await this.listFirstDirectories(prefix, limit);
    if (isPartial) throw this.tooMany(prefix, limit);
    return names;
  }

  /**
   * The same, for readers whom what others write there must not stop: no more than the first ones.
   * @param after only names that are greater than this, or begin with it. @returns isPartial: there are more.
   */
  async listFirstDirectories(
    prefix: string,
    limit: number,
    after?: string,
  ): Promise<{ names: string[]; isPartial: boolean }> {
    const { ListObjectsV2Command } = sdk.s3();
    const s3 = await this.aws.s3();
    const names: string[] = [];
    let token: string | undefined;
    do {
      const request = new ListObjectsV2Command({
        Bucket: this.settings.bucket,
        ExpectedBucketOwner: this.settings.bucketOwner,
        Prefix: prefix,
        Delimiter: '/',
        StartAfter: after === undefined ? undefined : prefix + after,
        ContinuationToken: token,
      });
      const answer = await s3.send(request).catch((error: unknown) => {
        throw this.problem('STORE_LIST', `Could not list ${this.name(prefix)}.`, error);
      });
      token = answer.NextContinuationToken;
      for (const { Prefix } of answer.CommonPrefixes ?? []) names.push(Prefix!.slice(prefix.length, -1));
      if (names.length > limit) return { names: names.slice(0, limit), isPartial: true };
    } while (token);
    return { names, isPartial: false };
  }

  /** Now, by S3's clock as far as its answers so far have told, to some minutes. */
  async now(): Promise<Date> {
    return serverDate(await this.aws.s3());
  }

  /**
   * Uploads a stream of unknown length: one PUT when small, multipart when large; given up cleanly on an error.
   * @param onProgress bytes sent so far. @param checksums false: S3 is sent no checksum; the reader must know the hash.
   */
  async upload(
    key: string,
    body: Readable,
    onProgress?: (bytes: number) => void,
    signal?: AbortSignal,
    checksums = true,
  ): Promise<void> {
    const { Upload } = sdk.upload();
    const s3 = await (checksums ? this.aws.s3() : this.aws.s3WithoutChecksums());
    const upload = new Upload({
      client: s3,
      params: { ...this.target(key), ...this.encryption(), Body: body, ContentType: 'application/gzip' },
      queueSize: 4,
      partSize: 8 * 1024 * 1024,
    });
    upload.on('httpUploadProgress', (progress) => onProgress?.(progress.loaded ?? 0));
    const abort = () => void upload.abort();
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await upload.done();
    } catch (error) {
      if (upload.uploadId) await this.forgetUpload(key, upload.uploadId);
      throw this.problem('STORE_PUT', `Could not upload ${this.name(key)}.`, error);
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /** Removes the parts of an upload that was given up: lib-storage does not wait for that when it is aborted. */
  private async forgetUpload(key: string, uploadId: string): Promise<void> {
    const { AbortMultipartUploadCommand } = sdk.s3();
    const s3 = await this.aws.s3();
    // What can't be removed now is the bucket's lifecycle rule to remove; why the upload failed is what matters.
    await s3.send(new AbortMultipartUploadCommand({ ...this.target(key), UploadId: uploadId })).catch(() => undefined);
  }

  /**
   * @param limit bytes.
   * @returns the object's bytes, or null where there is none (to a caller without s3:ListBucket, S3 says 403 for that).
   * @throws StoreTooLarge
   */
  async get(key: string, limit: number, signal?: AbortSignal): Promise<Buffer | null> {
    return (await this.getWithETag(key, limit, { signal }))?.bytes ?? null;
  }

  /**
   * The object as it is at this moment, with what tells it from other versions, and how old it is by S3's clock alone.
   * @param limit bytes.
   * @param options `strict`: a 403 is an error: for whoever may list, it does not mean that there is no object.
   * `unless`: the ETag of a version that is of no use.
   * @returns null where there is none. @throws StoreTooLarge where it is larger: no more than the limit is read.
   */
  async getWithETag(
    key: string,
    limit: number,
    options: { strict?: boolean; unless?: string; signal?: AbortSignal } = {},
  ): Promise<StoredVersion | null> {
    let answered = 0;
    // One of its own: the SDK leaves a listener on it for each request.
    const signal = options.signal && AbortSignal.any([options.signal]);
    const answer = await this.read(
      key,
      options.strict ? [404] : [404, 403],
      undefined,
      signal,
      (date) => (answered = date),
      options.unless,
    );
    if (!answer) return null;
    const bytes = await this.bytes(key, answer, limit, signal);
    return { bytes, etag: answer.ETag!, modified: answer.LastModified?.getTime() ?? 0, answered };
  }

  /**
   * An object, if it is not the version that is known already.
   * @param etag of what is known; undefined: nothing is. @param limit bytes.
   * @returns `same`, or the object; null where there is none.
   */
  async getIfChanged(
    key: string,
    limit: number,
    etag: string | undefined,
    signal?: AbortSignal,
  ): Promise<StoredVersion | 'same' | null> {
    try {
      return await this.getWithETag(key, limit, { signal, unless: etag });
    } catch (error) {
      if (awsStatus((error as Problem).cause) === 304) return 'same';
      throw error;
    }
  }

  /** The bytes of an object from an offset on, up to `end`; empty where it ends before; null where there is none. */
  async getFrom(key: string, offset: number, end: number, signal?: AbortSignal): Promise<Buffer | null> {
    try {
      const answer = await this.read(key, [404, 403], `bytes=${offset}-${end - 1}`, signal);
      return answer && (await this.bytes(key, answer, end - offset, signal));
    } catch (error) {
      if (awsStatus((error as Problem).cause) === 416) return Buffer.alloc(0);
      throw error;
    }
  }

  /** What tells this version of an object from others; null where there is none. */
  async etag(key: string): Promise<string | null> {
    const { HeadObjectCommand } = sdk.s3();
    const s3 = await this.aws.s3();
    try {
      return (await s3.send(new HeadObjectCommand(this.target(key)))).ETag ?? null;
    } catch (error) {
      if (awsStatus(error) === 404) return null;
      throw this.problem('STORE_GET', `Could not look at ${this.name(key)}.`, error);
    }
  }

  /** What the server says of an object's versions; null where there is none. */
  async version(key: string): Promise<ObjectVersion | null> {
    const { HeadObjectCommand } = sdk.s3();
    const s3 = await this.aws.s3();
    try {
      const head = await s3.send(new HeadObjectCommand(this.target(key)));
      // A bucket whose versioning is suspended says "null".
      const version = head.VersionId === 'null' ? undefined : head.VersionId;
      return { version, lockedUntil: head.ObjectLockRetainUntilDate };
    } catch (error) {
      if (awsStatus(error) === 404) return null;
      throw this.problem('STORE_GET', `Could not look at ${this.name(key)}.`, error);
    }
  }

  /** The last bytes of an object, all of it where it is smaller; null where there is none. */
  async getSuffix(key: string, bytes: number): Promise<Buffer | null> {
    const answer = await this.read(key, [404, 403], `bytes=-${bytes}`);
    return answer && this.bytes(key, answer, bytes);
  }

  /** All that an answer brings, up to a limit: it may be cut off on the way, or not be what S3 keeps the checksum of. */
  private async bytes(
    key: string,
    answer: GetObjectCommandOutput,
    limit: number,
    signal?: AbortSignal,
  ): Promise<Buffer> {
    const body = answer.Body as Readable;
    const tooLarge = (size: number, how = '') => {
      body.destroy();
      return new StoreTooLarge(this.name(key), `${how}${formatCount(size, 'byte')}`, limit, answer.ETag ?? null);
    };
    if ((answer.ContentLength ?? 0) > limit) throw tooLarge(answer.ContentLength!);
    // The SDK heeds the signal until the answer begins.
    const abort = () => void body.destroy(signal!.reason as Error);
    signal?.addEventListener('abort', abort, { once: true });
    const pieces: Buffer[] = [];
    let size = 0;
    try {
      for await (const piece of body) {
        size += (piece as Buffer).length;
        if (size > limit) throw tooLarge(limit, 'more than ');
        pieces.push(piece as Buffer);
      }
      return Buffer.concat(pieces);
    } catch (error) {
      throw this.problem('STORE_GET', `Could not read ${this.name(key)}.`, error);
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /**
   * @param absent the answers that mean that there is none: null is returned for them.
   * @param onDate told what S3's clock says, ms since the epoch.
   */
  private async read(
    key: string,
    absent: (404 | 403)[],
    range?: string,
    abortSignal?: AbortSignal,
    onDate?: (date: number) => void,
    unless?: string,
  ): Promise<GetObjectCommandOutput | null> {
    const { GetObjectCommand } = sdk.s3();
    const s3 = await this.aws.s3();
    const command = new GetObjectCommand({ ...this.target(key), Range: range, IfNoneMatch: unless });
    if (onDate) {
      command.middlewareStack.add(
        (next) => async (request) => {
          const answer = await next(request);
          const { headers } = answer.response as { headers?: Record<string, string> };
          onDate(Date.parse(headers?.date ?? '') || Date.now());
          return answer;
        },
        { step: 'deserialize' },
      );
    }
    try {
      return await s3.send(command, { abortSignal });
    } catch (error) {
      const code = awsCode(error);
      const is = awsStatus(error) === 404 ? 404 : code === 'AccessDenied' ? 403 : undefined;
      if (is && absent.includes(is) && code !== 'NoSuchBucket') return null;
      throw this.problem('STORE_GET', `Could not read ${this.name(key)}.`, error);
    }
  }

  async delete(keys: string[]): Promise<void> {
    if (keys.length === 0) return;
    const { DeleteObjectCommand, DeleteObjectsCommand } = sdk.s3();
    const s3 = await this.aws.s3();
    try {
      if (keys.length === 1) {
        await s3.send(new DeleteObjectCommand(this.target(keys[0])));
        return;
      }
      for (let from = 0; from < keys.length; from += 1000) {
        const answer = await s3.send(
          new DeleteObjectsCommand({
            Bucket: this.settings.bucket,
            ExpectedBucketOwner: this.settings.bucketOwner,
            Delete: { Objects: keys.slice(from, from + 1000).map((Key) => ({ Key })), Quiet: true },
          }),
        );
        const failed = answer.Errors?.[0];
        if (failed)
          throw Object.assign(new Error(failed.Message), { name: failed.Code, $metadata: { httpStatusCode: 200 } });
      }
    } catch (error) {
      throw this.problem(
        'STORE_DELETE',
        `Could not remove ${this.name(keys[0])}${keys.length > 1 ? ` and ${keys.length - 1} more` : ''}.`,
        error,
      );
    }
  }

  /** A URL that reads one object for an hour (or until the session's token ends, which may be sooner). */
  async presignGet(key: string): Promise<string> {
    const [{ GetObjectCommand }, { getSignedUrl }, s3] = await Promise.all([sdk.s3(), sdk.presign(), this.aws.s3()]);
    try {
      return await getSignedUrl(s3, new GetObjectCommand({ Bucket: this.settings.bucket, Key: key }), {
        expiresIn: URL_LIFETIME,
        signingDate: serverDate(s3),
      });
    } catch (error) {
      throw this.problem('STORE_PRESIGN', `Could not sign a URL for ${this.name(key)}.`, error);
    }
  }

  /**
   * A form that uploads any object under a prefix, up to 5 GB each, for an hour.
   * To its fields the uploader adds `x-amz-checksum-sha256`, which S3 checks, and `Content-Type`: S3 refuses a form
   * that lacks what its policy names.
   */
  async presignPost(prefix: string): Promise<PresignedPost> {
    const { createPresignedPost } = sdk.presignPost();
    const s3 = await this.aws.s3();
    const encryption: Record<string, string> = this.settings.kmsKeyId
      ? {
          'x-amz-server-side-encryption': 'aws:kms',
          'x-amz-server-side-encryption-aws-kms-key-id': this.settings.kmsKeyId,
        }
      : {};
    try {
      return await createPresignedPost(s3, {
        Bucket: this.settings.bucket,
        Key: `${prefix}\${filename}`,
        Fields: { ...encryption, 'x-amz-checksum-algorithm': 'SHA256' },
        Conditions: [
          ['starts-with', '$x-amz-checksum-sha256', ''],
          ['starts-with', '$Content-Type', ''],
        ],
        Expires: URL_LIFETIME,
      });
    } catch (error) {
      throw this.problem('STORE_PRESIGN', `Could not sign a form for ${this.name(prefix)}.`, error);
    }
  }

  /** The bucket's region; throws a `Problem` that says what is wrong with the bucket. */
  async bucketRegion(): Promise<string | undefined> {
    const { HeadBucketCommand } = sdk.s3();
    const s3 = await this.aws.s3();
    const bucket = this.settings.bucket;
    try {
      const answer = await s3.send(
        new HeadBucketCommand({ Bucket: bucket, ExpectedBucketOwner: this.settings.bucketOwner }),
      );
      return answer.BucketRegion;
    } catch (error) {
      const status = awsStatus(error);
      const region = namedRegion(error);
      if (status === 404) {
        throw this.problem('BUCKET_MISSING', `The bucket ${bucket} does not exist.`, error, missingBucket(bucket), [
          'bucket',
          'region',
        ]);
      }
      if (status === 301 || status === 400) {
        if (region) return region;
      }
      if (status === 403) {
        // A caller may be allowed to list the store's prefix and nothing else of the bucket.
        if (this.settings.prefix && (await this.mayList(storeBase(this.settings.prefix)))) return region;
        throw this.problem(
          'BUCKET_FORBIDDEN',
          `The bucket ${bucket} can't be used by the credentials in force${this.settings.bucketOwner ? `, or does not belong to account ${this.settings.bucketOwner}` : ''}.`,
          error,
          'The caller needs s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject on it. A requester-pays bucket of another account can not be used.',
          ['bucket', 'prefix', 'bucketOwner', 'profile', 'roleArn'],
        );
      }
      throw this.problem('BUCKET', `The bucket ${bucket} could not be reached.`, error);
    }
  }

  private async mayList(prefix: string): Promise<boolean> {
    const { ListObjectsV2Command } = sdk.s3();
    const s3 = await this.aws.s3();
    const { bucket, bucketOwner } = this.settings;
    const request = { Bucket: bucket, ExpectedBucketOwner: bucketOwner, Prefix: prefix, MaxKeys: 1 };
    return s3.send(new ListObjectsV2Command(request)).then(
      () => true,
      () => false,
    );
  }

  private target(key: string) {
    return { Bucket: this.settings.bucket, Key: key, ExpectedBucketOwner: this.settings.bucketOwner };
  }

  private encryption(): Pick<PutObjectCommandInput, 'ServerSideEncryption' | 'SSEKMSKeyId'> {
    return this.settings.kmsKeyId ? { ServerSideEncryption: 'aws:kms', SSEKMSKeyId: this.settings.kmsKeyId } : {};
  }

  private name(key: string): string {
    return `s3://${this.settings.bucket}/${key}`;
  }

  private tooMany(prefix: string, limit: number): Problem {
    return new Problem('STORE_TOO_MANY', `${this.name(prefix)} holds more than ${formatCount(limit, 'object')}.`, {
      next: 'Remove what no run needs: npx nx-ec2 store prune. If that does not help, another program is writing to this prefix.',
    });
  }

  private problem(code: ErrorCode, what: string, error: unknown, next?: string, settings?: readonly string[]) {
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
      return `S3 sends requests for ${bucket} elsewhere for the moment, as it does for some hours after a bucket was created. Set "region" to that of the bucket${region ? ` (${region})` : ''}, and try again in a few minutes.`;
    if (status === 501)
      return 'This S3 server lacks a feature that the request needs: nx run <project>:remote-doctor names it. With "sync": {"transport": "auto"}, files are sent as an archive instead.';
    return undefined;
  }
}

/** Now by the server's clock: the SDK learns the difference from the answers it gets. */
function serverDate(s3: S3Client): Date {
  return new Date(Date.now() + (s3.config.systemClockOffset ?? 0));
}
