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

/** Buckets as directories: an object is two files, its bytes and what is known of it, named by the hash of its key. */
export class Buckets {
  constructor(private readonly directory: string) {
    mkdirSync(directory, { recursive: true });
  }

  exists(bucket: string): boolean {
    return existsSync(join(this.directory, bucket));
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
  }

  head(bucket: string, key: string): StoredObject | null {
    const path = `${this.path(bucket, key)}.json`;
    return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as StoredObject) : null;
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
    return object;
  }

  delete(bucket: string, key: string): void {
    rmSync(`${this.path(bucket, key)}.json`, { force: true });
    rmSync(this.path(bucket, key), { force: true });
  }

  list(bucket: string): StoredObject[] {
    return readdirSync(join(this.directory, bucket))
      .filter((name) => name.endsWith('.json'))
      .map((name) => JSON.parse(readFileSync(join(this.directory, bucket, name), 'utf8')) as StoredObject)
      .sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
  }

  private path(bucket: string, key: string): string {
    return join(this.directory, bucket, createHash('sha256').update(key).digest('hex'));
  }
}

export function etagOf(body: Buffer): string {
  return `"${createHash('md5').update(body).digest('hex')}"`;
}
