import { Problem } from '../../report/problem';
import type { ErrorCode } from '../../report/error-codes';
import { formatCount } from '../../report/units';

/** An object exists, and its content can't be had: readers treat it as one whose content is damaged. */
export class UnusableObject extends Problem {
  /** @param etag of the object; null where S3 sent none. */
  constructor(
    code: ErrorCode,
    what: string,
    more: ConstructorParameters<typeof Problem>[2],
    readonly etag: string | null,
  ) {
    super(code, what, more);
  }
}

/** An object is larger than its kind can be. */
export class StoreTooLarge extends UnusableObject {
  /** @param etag of the object; null where S3 sent none. */
  constructor(name: string, size: string, limit: number, etag: string | null) {
    super(
      'STORE_TOO_LARGE',
      `${name} is too large: it has ${size}, its limit is ${formatCount(limit, 'byte')}.`,
      { next: 'Another program is writing to this prefix, or the object is damaged.' },
      etag,
    );
  }
}

/**
 * S3 has an object and does not return it to anybody who uses the store: it is archived, or encrypted with a key that
 * its reader lacks. Writing such an object needs `s3:PutObject` alone.
 */
export class StoreUnreadable extends UnusableObject {
  /**
   * @param reason S3's refusal as a problem.
   * @param age since the object was written, ms, by S3's clock; Infinity where it is not known.
   */
  constructor(
    { what, aws, next, cause }: Problem,
    etag: string | null,
    readonly age: number,
  ) {
    super('STORE_UNREADABLE', what, { aws, next, cause }, etag);
  }
}
