import type { IncomingHttpHeaders } from 'node:http';
import { pipeline, Readable, Transform } from 'node:stream';
import type { NodeHttpHandler, NodeHttpHandlerOptions } from '@smithy/node-http-handler';
import { formatSize } from '../report/units';
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

/** The body of an error, which says what it is in a few words, ms. */
const ERROR_BODY_TIMEOUT_MS = 30_000;

/** The SDK reads a body whole, but for that of an object; an error that is longer is none of AWS's. Bytes. */
const MAX_ERROR_BYTES = 64 * 1024;
/** More than any answer of an API, or a page of a list. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;

/** A body that is counted is written in pieces of this size, bytes. */
const PIECE_BYTES = 64 * 1024;

type HttpRequest = Parameters<NodeHttpHandler['handle']>[0];

/** What `send` of a client takes besides the SDK's own options. */
export interface CountedUpload {
  /** Called with the bytes of the request's body that were written since the last call, also when the SDK sends it again. */
  onWritten?: (bytes: number) => void;
}

/** An answer that did not come from AWS. */
export class ForeignAnswer extends Error {
  readonly code = 'FOREIGN_ANSWER';

  constructor(status: number, what = 'A web page') {
    super(`${what} came back (HTTP ${status}) instead of an answer from AWS.`);
  }
}

/** An answer that is longer than any of AWS's. */
export class AnswerTooLong extends Error {
  override readonly name = 'AnswerTooLong';
  /** Of an error: whether the SDK sends the request again depends on the status. */
  readonly $metadata?: { httpStatusCode: number };

  constructor(status: number, limit: number) {
    super(`The body of an answer (HTTP ${status}) is longer than ${formatSize(limit)}.`);
    if (status >= 300) this.$metadata = { httpStatusCode: status };
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
 * The SDK's handler with time-outs that end a request (its own only warns) and a limit for what is read whole, and which
 * takes no web page for an answer: of the page of a proxy or a hotel's network the SDK makes an empty list.
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
    if (!(body instanceof Readable)) return answer;
    const isError = statusCode >= 300;
    // The time-outs of the SDK's handler end with the head of an answer, but for that of a silent socket.
    const left = whole - (performance.now() - started);
    if (isError && left > ERROR_BODY_TIMEOUT_MS) endBody(body, ERROR_BODY_TIMEOUT_MS, ERROR_BODY_TIMEOUT_MS);
    else endBody(body, left, whole);
    // Whoever reads an object stops where it is too large.
    if (isError || request.query?.['x-id'] !== 'GetObject')
      answer.response.body = limitBody(body, statusCode, isError ? MAX_ERROR_BYTES : MAX_ANSWER_BYTES);
    const action = isError ? null : actionOf(request);
    if (action !== null) answer.response.body = await answerTo(action, answer.response.body as Readable, statusCode);
    return answer;
  };
  return handler;
}

/** The action of a request in EC2's and STS's query protocol; null: of another one. */
function actionOf({ method, body }: HttpRequest): string | null {
  if (method !== 'POST' || typeof body !== 'string') return null;
  return new URLSearchParams(body).get('Action');
}

/** The same body, read whole. @throws ForeignAnswer where it is no answer to the action: the SDK takes it for an empty list. */
async function answerTo(action: string, body: Readable, status: number): Promise<Readable> {
  const whole = Buffer.concat((await body.toArray()) as Buffer[]);
  const root = /^\ufeff?\s*(?:<\?xml[^>]*\?>\s*)?<(\w+)[\s>/]/.exec(whole.toString('utf8', 0, 1000))?.[1];
  if (root !== `${action}Response`) throw new ForeignAnswer(status, whole.length === 0 ? 'Nothing' : 'Something else');
  return Readable.from([whole], { objectMode: false });
}

/** The same body, which fails where it is longer than a limit. */
function limitBody(body: Readable, status: number, limit: number): Readable {
  let size = 0;
  const limited = new Transform({
    transform(piece: Buffer, _, done) {
      size += piece.length;
      if (size > limit) done(new AnswerTooLong(status, limit));
      else done(null, piece);
    },
  });
  // A failure is told to whoever reads the body; nobody need.
  pipeline(body, limited, () => undefined);
  return limited.on('error', () => undefined);
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
