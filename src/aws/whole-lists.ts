/** A client of the SDK's, as far as it is known here. */
interface Client {
  middlewareStack?: { add(middleware: (next: Next, context: Context) => Next, where: { step: 'initialize' }): void };
}
type Next = (request: { input: Page }) => Promise<{ output: Page }>;
interface Context {
  commandName?: string;
}

/** The fields of the requests and answers of lists by which their pages follow one another. */
interface Page {
  ContinuationToken?: string;
  NextContinuationToken?: string;
  NextToken?: string;
  IsTruncated?: boolean;
  KeyCount?: number;
  Name?: string;
}

/** @throws Error if the server answers a request for the next page with the token of that same page: the list would not end. */
export function assertNextPage(sent: string | undefined, next: string | undefined): void {
  if (sent && sent === next) throw new Error('The server answered with the same page of a list again.');
}

/**
 * Makes a client reject lists that are incomplete or do not end: what is missing in a list counts as deleted. The SDK
 * itself takes an empty body for an empty list, ends a list that is cut off, and requests the same page without end.
 */
export function requireWholeLists<T>(client: T): T {
  (client as Client).middlewareStack?.add(
    (next, { commandName = '' }) =>
      async (request) => {
        const answer = await next(request);
        const fault = commandName === 'ListObjectsV2Command' ? listFault(answer.output) : null;
        if (fault) throw new Error(`S3 answered a list of objects with ${fault}.`);
        const { input } = request;
        const { output } = answer;
        assertNextPage(input.ContinuationToken ?? input.NextToken, output.NextContinuationToken ?? output.NextToken);
        return answer;
      },
    { step: 'initialize' },
  );
  return client;
}

function listFault({ Name, KeyCount, IsTruncated, NextContinuationToken }: Page): string | null {
  if (Name === undefined && KeyCount === undefined && IsTruncated === undefined) return 'something else';
  return IsTruncated && !NextContinuationToken ? 'a part of it, and does not say how to get the next one' : null;
}
