import { Problem } from '../../report/problem';
import type { LaunchOption } from './launch-options';

/** EC2 has no capacity for what is missing beside instances that exist, of a set that is used together. */
export class NoRoomBeside extends Problem {
  constructor(
    what: string,
    next: string,
    /** The ids of those that exist. */
    readonly kept: readonly string[],
    /** Where they are. */
    readonly place: LaunchOption,
  ) {
    super('NO_CAPACITY', what, { next });
  }
}
