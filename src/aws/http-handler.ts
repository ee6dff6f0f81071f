import type { IncomingHttpHeaders } from 'node:http';
import { Readable } from 'node:stream';
import type { NodeHttpHandlerOptions } from '@smithy/node-http-handler';
import { sdk } from './sdk';

/**
 * Without a byte in either direction for this long, ms, a request is given up, and the SDK sends it again. S3 can be
 * silent while it puts the parts of a large object together; the others answer in a second or two.
 */
const SOCKET_TIMEOUT_MS = { s3: 60_000, other: 30_000 };
/** To connect, ms. */
const CONNECT_TIMEOUT_MS = 10_000;
/** A request whose answer is not whole after this long, ms, is given up even if bytes still trickle. */
const REQUEST_TIMEOUT_MS = { s3: 30 * 60_000, other: 2 * 60_000 };

/** A body that is counted is written in pieces of this size, bytes. */
const PIECE_BYTES = 64 * 1024;

/** What `send` of a client takes besides the SDK's own options. */
export interface CountedUpload {
  /** Called with the bytes of the request's body that were written since the last call, also when the SDK sends it again. */
  onWritten?: (bytes: number) => void;
}

/** An answer that did not come from AWS. */
export class ForeignAnswer extends Error {
  readonly code = 'FOREIGN_ANSWER';

  constructor(status: number) {
    super(`A web page came back (HTTP ${status}) instead of an answer from AWS.`);
  }
}

export interface Limits {
  /** Without a byte for this long, ms, a request is given up. */
  silent: number;
  /** Without a whole answer after this long, ms, too. */
  whole: number;
}

/** @param service a name of `customEndpoint`. */
export function limitsOf(service: string): Limits {
  const kind = service === 's3' ? 's3' : 'other';
  return { silent: SOCKET_TIMEOUT_MS[kind], whole: REQUEST_TIMEOUT_MS[kind] };
}

/**
 * The SDK's handler with time-outs that end a request (its own only warns), and which takes no web page for an answer:
 * of the page of a proxy or a hotel's network the SDK makes an empty list.
 * @param service a name of `customEndpoint`.
 */
export function httpHandler(
  service: string,
  agents: Pick<NodeHttpHandlerOptions, 'httpAgent' | 'httpsAgent'>,
  { silent, whole }: Limits = limitsOf(service),
) {
  const { NodeHttpHandler } = sdk.http();
  const handler = new NodeHttpHandler({
    ...agents,
    connectionTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: silent,
    requestTimeout: whole,
    throwOnRequestTimeout: true,
  });
  const handle = handler.handle.bind(handler);
  handler.handle = async (request, options) => {
    const { onWritten } = (options ?? {}) as CountedUpload;
    if (onWritten && Buffer.isBuffer(request.body)) {
      const body = Readable.from(pieces(request.body, onWritten), { objectMode: false, highWaterMark: PIECE_BYTES });
      // A copy: the SDK sends the original again after a failure.
      request = Object.assign(Object.create(Object.getPrototypeOf(request)), request, { body });
    }
    const started = performance.now();
    const answer = await handle(request, options);
    const { statusCode, headers, body } = answer.response;
    if (statusCode < 300 && isWebPage(headers)) {
      (body as { destroy?: () => void } | undefined)?.destroy?.();
      throw new ForeignAnswer(statusCode);
    }
    // The time-outs of the SDK's handler end with the head of an answer, but for that of a silent socket.
    if (body instanceof Readable) endBody(body, whole - (performance.now() - started), whole);
    return answer;
  };
  return handler;
}

/** Ends a body that has not arrived after `left` ms. */
function endBody(body: Readable, left: number, whole: number): void {
  const timer = setTimeout(() => {
    const error = new Error(`The answer was incomplete after ${Math.round(whole / 1000)} s.`);
    body.destroy(Object.assign(error, { name: 'TimeoutError' }));
  }, left);
  // A stream that was read to its end, or destroyed, closes.
  body.once('close', () => clearTimeout(timer));
  timer.unref();
}

/** A body in pieces. Each is reported when the next one is asked for: the connection has taken it by then. */
function* pieces(body: Buffer, onWritten: (bytes: number) => void): Generator<Buffer> {
  for (let at = 0; at < body.length; at += PIECE_BYTES) {
    const piece = body.subarray(at, at + PIECE_BYTES);
    yield piece;
    onWritten(piece.length);
  }
}

/** Whether an answer is HTML and carries none of the headers by which every service of AWS names its requests. */
export function isWebPage(headers: IncomingHttpHeaders): boolean {
  const names = Object.keys(headers);
  const type = headers[names.find((name) => name.toLowerCase() === 'content-type') ?? ''] ?? '';
  return /^text\/html\b/i.test(String(type)) && !names.some((name) => /^x-amzn?-(request-?id|id-2)$/i.test(name));
}
