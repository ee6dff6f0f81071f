/** AWS's own words about a failure, verbatim. */
export interface AwsReason {
  code: string;
  message: string;
  status?: number;
  requestId?: string;
  /** Where a permission is missing: which. */
  denied?: Denied;
}

export interface Denied {
  /** e.g. `ssm:SendCommand`. */
  action: string;
  /** ARN, where it is known. */
  resource: string | null;
  /** A policy denies it, so that none helps which allows it. */
  explicit: boolean;
}

/**
 * The one family of errors that users see: what failed, on what, why AWS says so, what to do next.
 * Whoever catches one prints its message alone, without a stack: it is the user's to mend, not ours to debug.
 */
export class Problem extends Error {
  /** A stable name for machines, e.g. `CONFIG_INVALID`, `BUCKET_FORBIDDEN`. */
  readonly code: string;
  readonly what: string;
  readonly aws?: AwsReason;
  readonly next?: string;

  constructor(code: string, what: string, more: { aws?: AwsReason; next?: string; cause?: unknown } = {}) {
    const lines = [what];
    if (more.aws) lines.push(`AWS says: ${more.aws.code}: ${more.aws.message}`);
    if (more.next) lines.push(more.next);
    super(lines.join('\n'), { cause: more.cause });
    this.name = 'Problem';
    this.code = code;
    this.what = what;
    this.aws = more.aws;
    this.next = more.next;
  }
}
