/** An error as AWS names it; each service renders it in its own protocol. */
export class AwsError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly status = 400,
    readonly headers: Record<string, string> = {},
    /** What S3 says of it in elements of their own. */
    readonly elements: Record<string, string> = {},
  ) {
    super(message);
  }
}
