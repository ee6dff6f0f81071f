import type { Readable } from 'node:stream';
import type { Output } from '../../aws/direct/operations';
import { parseDenial } from '../../aws/denied';
import { awsCode, awsStatus } from '../../aws/reason';
import { sdk } from '../../aws/sdk';
import type { Problem } from '../../report/problem';
import { shellWord } from '../../report/shell-words';
import { formatCount } from '../../report/units';
import { serverDate, type BucketRequests } from './bucket-requests';
import { ObjectListing } from './object-listing';
import { ReadableObjects } from './readable-objects';
import { refusalOf } from './refusal';
import type { ObjectVersion, StoredVersion } from './types';
import { StoreTooLarge, StoreUnreadable } from './unusable';

interface ReadOptions {
  /** A 403 is an error, whatever it is for. */
  strict?: boolean;
  range?: string;
  signal?: AbortSignal;
  /** Told what S3's clock says, ms since the epoch. */
  onDate?: (date: number) => void;
  /** The ETag of a version that is of no use. */
  unless?: string;
}

/** The storage classes whose objects have to be restored before they can be read. */
const ARCHIVED = ['GLACIER', 'DEEP_ARCHIVE'];

/** Reads objects of the bucket. */
export class ObjectReader {
  protected readonly listing: ObjectListing;
  private readonly readable: ReadableObjects;

  constructor(protected readonly requests: BucketRequests) {
    this.listing = new ObjectListing(requests);
    this.readable = new ReadableObjects(requests, this.listing);
  }

  /** Now, by S3's clock as far as its answers so far have told, to some minutes. */
  async now(): Promise<Date> {
    return serverDate(this.requests.aws);
  }

  /** Whether something is there under a key: asked where writing it again would cost more. */
  async has(key: string): Promise<boolean> {
    try {
      await this.requests.aws.call('HeadObject', this.requests.target(key));
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
  protected async headByChecksum(key: string, sha256: string, size: number): Promise<{ modified: number } | null> {
    try {
      const head = await this.requests.aws.call('HeadObject', {
        ...this.requests.target(key),
        ChecksumMode: 'ENABLED',
      });
      const named = head.ChecksumSHA256 === Buffer.from(sha256, 'hex').toString('base64');
      const isUsable = named && head.ContentLength === size && !ARCHIVED.includes(head.StorageClass ?? '');
      return isUsable ? { modified: head.LastModified?.getTime() ?? 0 } : null;
    } catch (error) {
      // Removed in between, or not readable: 400 if it is encrypted with a customer's key.
      if ([400, 403, 404].includes(awsStatus(error)!)) return null;
      throw this.requests.problem('STORE_GET', `Could not check ${this.requests.name(key)}.`, error);
    }
  }

  /**
   * @param limit bytes.
   * @returns the object's bytes, or null where there is none.
   * @throws StoreTooLarge, StoreUnreadable. Problem `STORE_GET` where the caller may not read it, or may not know whether it exists.
   */
  async get(key: string, limit: number, signal?: AbortSignal): Promise<Buffer | null> {
    return (await this.getWithETag(key, limit, { signal }))?.bytes ?? null;
  }

  /**
   * The object as it is at this moment, with what tells it from other versions, and how old it is by S3's clock alone.
   * @param limit bytes.
   * @param options `strict`: a 403 is an error, even if S3 says with it that the object does not exist. `unless`: the ETag
   * of a version that is of no use.
   * @returns null where there is none. @throws StoreTooLarge where it is larger: no more than the limit is read.
   * StoreUnreadable where S3 has it and does not return it. Problem `STORE_GET` where the caller may not read it.
   */
  async getWithETag(
    key: string,
    limit: number,
    options: { strict?: boolean; unless?: string; signal?: AbortSignal } = {},
  ): Promise<StoredVersion | null> {
    let answered = 0;
    // One of its own: the SDK leaves a listener on it for each request.
    const signal = options.signal && AbortSignal.any([options.signal]);
    const answer = await this.read(key, {
      strict: options.strict,
      signal,
      onDate: (date) => (answered = date),
      unless: options.unless,
    });
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
      const answer = await this.read(key, { range: `bytes=${offset}-${end - 1}`, signal });
      return answer && (await this.bytes(key, answer, end - offset, signal));
    } catch (error) {
      if (awsStatus((error as Problem).cause) === 416) return Buffer.alloc(0);
      throw error;
    }
  }

  /** What tells this version of an object from others; null where there is none. */
  async etag(key: string): Promise<string | null> {
    try {
      return (await this.requests.aws.call('HeadObject', this.requests.target(key))).ETag ?? null;
    } catch (error) {
      if (awsStatus(error) === 404) return null;
      throw this.requests.problem('STORE_GET', `Could not check ${this.requests.name(key)}.`, error);
    }
  }

  /** What the server says of an object's versions; null where there is none. */
  async version(key: string): Promise<ObjectVersion | null> {
    const { HeadObjectCommand } = sdk.s3();
    const s3 = await this.requests.aws.s3();
    try {
      const head = await s3.send(new HeadObjectCommand(this.requests.target(key)));
      // A bucket whose versioning is suspended says "null".
      const version = head.VersionId === 'null' ? undefined : head.VersionId;
      return { version, lockedUntil: head.ObjectLockRetainUntilDate };
    } catch (error) {
      if (awsStatus(error) === 404) return null;
      throw this.requests.problem('STORE_GET', `Could not check ${this.requests.name(key)}.`, error);
    }
  }

  /** The last bytes of an object, all of it where it is smaller; null where there is none. */
  async getSuffix(key: string, bytes: number): Promise<Buffer | null> {
    const answer = await this.read(key, { range: `bytes=-${bytes}` });
    return answer && this.bytes(key, answer, bytes);
  }

  /** All that an answer brings, up to a limit: it may be cut off on the way, or not be what S3 keeps the checksum of. */
  private async bytes(key: string, answer: Output<'GetObject'>, limit: number, signal?: AbortSignal): Promise<Buffer> {
    const body = answer.Body as Readable;
    const tooLarge = (size: number, how = '') => {
      body.destroy();
      return new StoreTooLarge(
        this.requests.name(key),
        `${how}${formatCount(size, 'byte')}`,
        limit,
        answer.ETag ?? null,
      );
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
      throw this.requests.problem('STORE_GET', `Could not read ${this.requests.name(key)}.`, error);
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /** @returns null where there is none. */
  private async read(
    key: string,
    { strict, range, signal: abortSignal, onDate, unless }: ReadOptions,
  ): Promise<Output<'GetObject'> | null> {
    try {
      const input = { ...this.requests.target(key), Range: range, IfNoneMatch: unless };
      const answer = await this.requests.aws.call('GetObject', input, abortSignal);
      onDate?.(answer.date ?? Date.now());
      this.readable.noteRead();
      return answer;
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === 'object' || (refusal === 'key' && (await this.readable.exist(key))))
        throw await this.unreadable(key, error);
      const code = awsCode(error);
      if (refusal) throw this.requests.problem('STORE_GET', `Could not read ${this.requests.name(key)}.`, error);
      if (awsStatus(error) === 404 && code !== 'NoSuchBucket') return null;
      if (code === 'AccessDenied' && !strict && (await this.isAbsent(key, error))) return null;
      throw this.requests.problem('STORE_GET', `Could not read ${this.requests.name(key)}.`, error);
    }
  }

  /**
   * Whether S3 denied a read because there is no such object: to a caller who may not list, it answers 403 for that, too.
   * @throws Problem where that can't be known.
   */
  private async isAbsent(key: string, error: unknown): Promise<boolean> {
    // Of an object that does not exist, S3 says that the permission to list is missing.
    const action = parseDenial((error as Error).message)?.action;
    if (action) return action === 's3:ListBucket';
    const listed = await this.listing.find(key).catch((failure: unknown) => {
      if (awsCode((failure as Problem).cause) === 'AccessDenied') return undefined;
      throw failure;
    });
    if (listed !== undefined) return listed === null;
    throw this.requests.problem(
      'STORE_GET',
      `Could not read ${this.requests.name(key)}. It may not exist: S3 does not say so to a caller without s3:ListBucket.`,
      error,
      'The caller needs s3:GetObject and s3:ListBucket: the CallerPolicy of nx g nx-ec2:aws-setup has both.',
    );
  }

  private restoreCommand(key: string): string {
    const [bucket] = this.requests.name('').slice('s3://'.length).split('/');
    return `aws s3api restore-object --bucket ${shellWord(bucket)} --key ${shellWord(key)} --restore-request Days=7`;
  }

  /** The error for an object that S3 has and does not return. */
  private async unreadable(key: string, error: unknown): Promise<StoreUnreadable> {
    const name = this.requests.name(key);
    // HEAD is refused as well for some of them; a listing has the ETag of each.
    const found = await this.listing.find(key).catch(() => null);
    const answered = Date.parse(answeredAt(error) ?? '') || (await this.now()).getTime();
    const next =
      awsCode(error) === 'InvalidObjectState'
        ? `A rule of the bucket has archived it. To have S3 copy it back, which takes minutes to hours: ${this.restoreCommand(key)}\nThen run the same command again.`
        : `Another program has written it, or a rule of the bucket archives or encrypts objects. If nobody needs it: aws s3 rm ${shellWord(name)}`;
    const reason = this.requests.problem('STORE_UNREADABLE', `S3 has ${name} and does not return it.`, error, next, []);
    return new StoreUnreadable(reason, found?.etag ?? null, found ? Math.max(0, answered - found.modified) : Infinity);
  }
}

/** S3's clock when it refused a request. */
function answeredAt(error: unknown): string | undefined {
  return (error as { $response?: { headers?: Record<string, string> } }).$response?.headers?.date;
}
