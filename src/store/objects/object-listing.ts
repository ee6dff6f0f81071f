import type { ListObjectsInput, ListObjectsOutput } from '../../aws/direct/list-objects';
import { ListPages } from '../../aws/whole-lists';
import { Problem } from '../../report/problem';
import { formatCount } from '../../report/units';
import type { BucketRequests } from './bucket-requests';
import type { StoredKey } from './types';

/** Lists keys of the bucket. */
export class ObjectListing {
  constructor(private readonly requests: BucketRequests) {}

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

  /** The object of this very key; null where there is none. */
  async find(key: string): Promise<{ etag: string | null; modified: number } | null> {
    // No key that begins with another one comes before it.
    const { value } = await this.answers({ Prefix: key, MaxKeys: 1 }).next();
    const [found] = value?.Contents ?? [];
    if (found?.Key !== key) return null;
    return { etag: found.ETag ?? null, modified: found.LastModified?.getTime() ?? 0 };
  }

  /** The first keys that begin with a prefix, up to 1,000. */
  async firstPage(prefix: string, after?: string): Promise<StoredKey[]> {
    const { value } = await this.pages(prefix, after).next();
    return value ?? [];
  }

  /** The same, up to 1,000 at a time, as S3 has them at that moment. */
  async *pages(prefix: string, after?: string): AsyncGenerator<StoredKey[]> {
    for await (const { Contents = [] } of this.answers({ Prefix: prefix, StartAfter: after }))
      yield Contents.map(({ Key, Size, LastModified }) => ({
        key: Key!,
        size: Size ?? 0,
        modified: LastModified?.getTime() ?? 0,
      }));
  }

  /**
   * The "directories" below a prefix: the parts of keys up to the next slash, sorted.
   * @param limit how many, with the keys beside them that have no slash. @throws Problem `STORE_TOO_MANY` where there are more.
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
    const names: string[] = [];
    let count = 0;
    const request = { Prefix: prefix, Delimiter: '/', StartAfter: after === undefined ? undefined : prefix + after };
    for await (const { CommonPrefixes = [], Contents = [] } of this.answers(request)) {
      for (const { Prefix } of CommonPrefixes) names.push(Prefix!.slice(prefix.length, -1));
      // Each page costs a request, whatever is on it.
      count += Math.max(1, CommonPrefixes.length + Contents.length);
      if (count > limit) return { names: names.slice(0, limit), isPartial: true };
    }
    return { names, isPartial: false };
  }

  private async *answers(
    request: Omit<ListObjectsInput, 'Bucket' | 'Prefix'> & { Prefix: string },
  ): AsyncGenerator<ListObjectsOutput> {
    const { bucket, bucketOwner } = this.requests.settings;
    const input = { ...request, Bucket: bucket, ExpectedBucketOwner: bucketOwner };
    try {
      const pages = new ListPages();
      let token: string | undefined;
      do {
        const page = await this.requests.aws.call('ListObjectsV2', { ...input, ContinuationToken: token });
        yield page;
        pages.add(token, page);
        token = page.NextContinuationToken;
      } while (token);
    } catch (error) {
      throw this.requests.problem('STORE_LIST', `Could not list ${this.requests.name(request.Prefix)}.`, error);
    }
  }

  private tooMany(prefix: string, limit: number): Problem {
    return new Problem(
      'STORE_TOO_MANY',
      `${this.requests.name(prefix)} holds more than ${formatCount(limit, 'object')}.`,
      {
        next: 'If pruning does not help, another program is writing to this prefix. To remove unreachable objects: npx nx-ec2 store prune --apply',
      },
    );
  }
}
