import { randomBytes } from 'node:crypto';
import type { BucketRequests } from './bucket-requests';
import type { ObjectListing } from './object-listing';
import type { StoredKey } from './types';

/** Objects of each kind that are tried. */
const SAMPLE_SIZE = 4;

/**
 * Tells a caller that can read nothing (no `kms:Decrypt`, or the key of the bucket is disabled) from an object that
 * another program has encrypted with a key of its own: in the second case other objects of the store can be read. Neither
 * the ARN of the key in S3's message nor the configuration decides it: the default key of a bucket is known to nobody
 * who may not read the bucket's configuration, and a store may have had several. Writing an object and reading it back
 * would decide it, too, but `prune` and readers may not write. Samples are picked at random from what is listed after
 * random hashes, so that somebody who wants the caller's credentials to look wrong has to replace most objects.
 */
export class ReadableObjects {
  private isProven = false;
  private sampled: Promise<boolean> | undefined;

  constructor(
    private readonly requests: BucketRequests,
    private readonly listing: ObjectListing,
  ) {}

  /** An object of the bucket was read. */
  noteRead(): void {
    this.isProven = true;
  }

  /** @param except the key of the object that was refused, below the store's base. */
  async exist(except: string): Promise<boolean> {
    if (this.isProven) return true;
    this.sampled ??= this.sample(except);
    // Another read may have succeeded meanwhile.
    return (await this.sampled) || this.isProven;
  }

  private async sample(except: string): Promise<boolean> {
    const base = /^(?:.*?\/)?v2\/(?=[a-z]+\/)/.exec(except)?.[0];
    if (base === undefined) return false;
    for (const kind of ['runtime/', 'packs/', 'indexes/', 'projects/']) {
      const others = (await this.list(base + kind)).map(({ key }) => key).filter((key) => key !== except);
      for (let n = 0; n < SAMPLE_SIZE && others.length; n++) {
        const [key] = others.splice(Math.floor(Math.random() * others.length), 1);
        if (await this.canRead(key)) return true;
      }
    }
    return false;
  }

  /** Keys after a random hash, or the first ones. */
  private async list(prefix: string): Promise<StoredKey[]> {
    const after = prefix + randomBytes(8).toString('hex');
    try {
      const listed = await this.listing.firstPage(prefix, after);
      return listed.length ? listed : await this.listing.firstPage(prefix);
    } catch {
      return [];
    }
  }

  private async canRead(key: string): Promise<boolean> {
    try {
      const answer = await this.requests.aws.call('GetObject', { ...this.requests.target(key), Range: 'bytes=0-0' });
      (answer.Body as { destroy?: () => void } | undefined)?.destroy?.();
      return true;
    } catch {
      return false;
    }
  }
}
