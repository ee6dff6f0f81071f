import type { ErrorCode } from './error-codes';
import { sanitizeForTerminal, printableLines } from './terminal-text';

/** AWS's own words about a failure: verbatim, but for what is not safe to print. */
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
 * Whoever catches one prints its message alone, without a stack: it is the user's to mend, not ours to debug. Its texts
 * quote paths, tags, AWS and the instance: they are made safe to print here.
 */
export class Problem extends Error {
  /** A stable name for programs: src/report/error-codes.ts has all. */
  readonly code: ErrorCode;
  readonly what: string;
  readonly aws?: AwsReason;
  readonly next?: string;
  /** The settings whose values may be what is wrong, e.g. `instance.subnet`. */
  readonly settings: readonly string[];

  constructor(
    code: ErrorCode,
    what: string,
    more: { aws?: AwsReason; next?: string; settings?: readonly string[]; cause?: unknown } = {},
  ) {
    const aws = more.aws && {
      ...more.aws,
      code: sanitizeForTerminal(more.aws.code),
      message: sanitizeForTerminal(more.aws.message),
    };
    const next = more.next && printableLines(more.next);
    const lines = [printableLines(what)];
    if (aws) lines.push(`AWS says: ${aws.code}: ${aws.message}`);
    if (next) lines.push(next);
    super(lines.join('\n'), { cause: more.cause });
    this.name = 'Problem';
    this.code = code;
    this.what = lines[0];
    this.aws = aws;
    this.next = next;
    this.settings = more.settings ?? [];
  }
}
