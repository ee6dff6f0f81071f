import { Problem } from '../../report/problem';
import { formatCount } from '../../report/units';

/** An object is larger than its kind can be. */
export class StoreTooLarge extends Problem {
  /** @param etag of the object; null where S3 sent none. */
  constructor(
    name: string,
    size: string,
    limit: number,
    readonly etag: string | null,
  ) {
    super('STORE_TOO_LARGE', `${name} is too large: it has ${size}, its limit is ${formatCount(limit, 'byte')}.`, {
      next: 'Another program is writing to this prefix, or the object is damaged.',
    });
  }
}
