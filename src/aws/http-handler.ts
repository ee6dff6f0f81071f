import type { NodeHttpHandlerOptions } from '@smithy/node-http-handler';
import { sdk } from './sdk';

/**
 * Without a byte in either direction for this long, ms, a request is given up, and the SDK sends it again. S3 can be
 * silent while it puts the parts of a large object together; the others answer in a second or two.
 */
const SILENT = { s3: 60_000, other: 30_000 };
/** To connect, ms. */
const CONNECT = 10_000;
/** A request that is still on its way after this long, ms, is given up even if bytes still trickle. */
const LONGEST = 30 * 60_000;

/** An answer that did not come from AWS. */
export class ForeignAnswer extends Error {
  readonly code = 'FOREIGN_ANSWER';

  constructor(status: number) {
    super(`A web page came back (HTTP ${status}) where AWS was asked.`);
  }
}

/**
 * The SDK's handler with time-outs that end a request (its own only warns), and which takes no web page for an answer:
 * of the page of a proxy or a hotel's network the SDK makes an empty list.
 * @param service a name of `customEndpoint`.
 * @param silent ms without a byte after which a request is given up.
 */
export function httpHandler(
  service: string,
  agents: Pick<NodeHttpHandlerOptions, 'httpAgent' | 'httpsAgent'>,
  silent = service === 's3' ? SILENT.s3 : SILENT.other,
) {
  const { NodeHttpHandler } = sdk.http();
  const handler = new NodeHttpHandler({
    ...agents,
    connectionTimeout: CONNECT,
    socketTimeout: silent,
    requestTimeout: LONGEST,
    throwOnRequestTimeout: true,
  });
  const handle = handler.handle.bind(handler);
  handler.handle = async (request, options) => {
    const answer = await handle(request, options);
    const { statusCode, headers, body } = answer.response;
    if (statusCode < 300 && isWebPage(headers)) {
      (body as { destroy?: () => void } | undefined)?.destroy?.();
      throw new ForeignAnswer(statusCode);
    }
    return answer;
  };
  return handler;
}

/** Whether an answer is HTML and carries none of the headers by which every service of AWS names its requests. */
function isWebPage(headers: Record<string, string>): boolean {
  const names = Object.keys(headers);
  const type = headers[names.find((name) => name.toLowerCase() === 'content-type') ?? ''] ?? '';
  return /^text\/html\b/i.test(type) && !names.some((name) => /^x-amzn?-(request-?id|id-2)$/i.test(name));
}
