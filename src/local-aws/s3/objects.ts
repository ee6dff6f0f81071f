import { createHash, randomBytes } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

export interface StoredObject {
  key: string;
  etag: string;
  size: number;
  /** ms since the epoch. */
  modified: number;
  contentType: string;
  headers: Record<string, string>;
}

interface Index {
  objects: Map<string, StoredObject>;
  /** Its keys in the order of their bytes, as S3 lists them; absent while they are not needed. */
  sorted?: { key: string; bytes: Buffer }[];
}

/** S3 user guide, "Bucket naming rules". */
export const BUCKET_NAME = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;

/**
 * Buckets as directories: an object is two files, its bytes and what is known of it, named by the hash of its key.
 * What is known is in memory too: the directory belongs to one server.
 */
export class Buckets {
  private readonly indexes = new Map<string, Index>();

  constructor(private readonly directory: string) {
    mkdirSync(directory, { recursive: true });
  }

  /** Rereads a directory that another process has changed. */
  reread(): void {
    this.indexes.clear();
  }

  /** A name that is none of a bucket's, `..` or that of our own directory for uploads, has no bucket. */
  exists(bucket: string): boolean {
    return BUCKET_NAME.test(bucket) && existsSync(join(this.directory, bucket));
  }

  names(): string[] {
    return readdirSync(this.directory)
      .filter((name) => !name.startsWith('.'))
      .sort();
  }

  create(bucket: string): void {
    mkdirSync(join(this.directory, bucket), { recursive: true });
  }

  remove(bucket: string): void {
    rmSync(join(this.directory, bucket), { recursive: true });
    this.indexes.delete(bucket);
  }

  head(bucket: string, key: string): StoredObject | null {
    return this.index(bucket).objects.get(key) ?? null;
  }

  /** The file that holds the object's bytes. */
  file(bucket: string, key: string): string {
    return this.path(bucket, key);
  }

  put(
    bucket: string,
    key: string,
    body: Buffer | { files: string[] },
    more: { contentType?: string; headers?: Record<string, string>; etag: string },
  ): StoredObject {
    const path = this.path(bucket, key);
    const beside = `${path}.${randomBytes(4).toString('hex')}.tmp`;
    if (Buffer.isBuffer(body)) writeFileSync(beside, body);
    else for (const file of body.files) appendFileSync(beside, readFileSync(file));
    const object: StoredObject = {
      key,
      etag: more.etag,
      size: statSync(beside).size,
      modified: Date.now(),
      contentType: more.contentType ?? 'application/octet-stream',
      headers: more.headers ?? {},
    };
    renameSync(beside, path);
    writeFileSync(beside, JSON.stringify(object));
    renameSync(beside, `${path}.json`);
    const index = this.index(bucket);
    if (!index.objects.has(key)) index.sorted = undefined;
    index.objects.set(key, object);
    return object;
  }

  delete(bucket: string, key: string): void {
    rmSync(`${this.path(bucket, key)}.json`, { force: true });
    rmSync(this.path(bucket, key), { force: true });
    const index = this.index(bucket);
    if (index.objects.delete(key)) index.sorted = undefined;
  }

  /** @param after only what comes after this key. */
  list(bucket: string, after = ''): StoredObject[] {
    const index = this.index(bucket);
    index.sorted ??= [...index.objects.keys()]
      .map((key) => ({ key, bytes: Buffer.from(key) }))
      .sort((a, b) => Buffer.compare(a.bytes, b.bytes));
    const bytes = Buffer.from(after);
    const first = after ? index.sorted.findIndex((each) => Buffer.compare(each.bytes, bytes) > 0) : 0;
    return first < 0 ? [] : index.sorted.slice(first).map(({ key }) => index.objects.get(key)!);
  }

  private index(bucket: string): Index {
    let index = this.indexes.get(bucket);
    if (!index) {
      const directory = join(this.directory, bucket);
      const objects = readdirSync(directory)
        .filter((name) => name.endsWith('.json'))
        .map((name) => JSON.parse(readFileSync(join(directory, name), 'utf8')) as StoredObject);
      index = { objects: new Map(objects.map((object) => [object.key, object])) };
      this.indexes.set(bucket, index);
    }
    return index;
  }

  private path(bucket: string, key: string): string {
    return join(this.directory, bucket, createHash('sha256').update(key).digest('hex'));
  }
}

export function etagOf(body: Buffer): string {
  return `"${createHash('md5').update(body).digest('hex')}"`;
}
