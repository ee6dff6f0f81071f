import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { etagOf } from './objects';
import { AwsError } from '../protocol/aws-error';

export interface Upload {
  id: string;
  bucket: string;
  key: string;
  /** ms since the epoch. */
  initiated: number;
  contentType?: string;
  headers: Record<string, string>;
}

export interface Part {
  number: number;
  etag: string;
  size: number;
  file: string;
}

/** Multipart uploads that are not finished: a directory each, a file a part, so that they survive a restart. */
export class Uploads {
  constructor(private readonly directory: string) {
    mkdirSync(directory, { recursive: true });
  }

  create(of: Omit<Upload, 'id' | 'initiated'>): Upload {
    const upload = { ...of, id: randomBytes(16).toString('hex'), initiated: Date.now() };
    mkdirSync(join(this.directory, upload.id));
    writeFileSync(join(this.directory, upload.id, 'upload.json'), JSON.stringify(upload));
    return upload;
  }

  /** @throws AwsError where there is none of this id for this key. */
  find(id: string, bucket: string, key: string): Upload {
    const file = join(this.directory, id, 'upload.json');
    const upload =
      /^[0-9a-f]{32}$/.test(id) && existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Upload) : null;
    if (upload?.bucket !== bucket || upload.key !== key)
      throw new AwsError('NoSuchUpload', 'The specified multipart upload does not exist.', 404);
    return upload;
  }

  all(bucket: string): Upload[] {
    return readdirSync(this.directory)
      .map((id) => JSON.parse(readFileSync(join(this.directory, id, 'upload.json'), 'utf8')) as Upload)
      .filter((upload) => upload.bucket === bucket)
      .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.initiated - b.initiated));
  }

  put(upload: Upload, number: number, body: Buffer): string {
    const etag = etagOf(body);
    const file = join(this.directory, upload.id, `${number}-${etag.replace(/"/g, '')}`);
    writeFileSync(`${file}.tmp`, body);
    // The last one that was sent under a number counts.
    for (const part of this.parts(upload)) if (part.number === number) rmSync(part.file);
    renameSync(`${file}.tmp`, file);
    return etag;
  }

  parts(upload: Upload): Part[] {
    return readdirSync(join(this.directory, upload.id))
      .filter((name) => /^\d+-[0-9a-f]{32}$/.test(name))
      .map((name) => {
        const [number, etag] = name.split('-');
        const file = join(this.directory, upload.id, name);
        return { number: Number(number), etag: `"${etag}"`, size: statSync(file).size, file };
      })
      .sort((a, b) => a.number - b.number);
  }

  remove(upload: Upload): void {
    rmSync(join(this.directory, upload.id), { recursive: true, force: true });
  }
}
