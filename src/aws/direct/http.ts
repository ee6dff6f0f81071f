import { request as httpRequest, type Agent as HttpAgent, type ClientRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest, type Agent as HttpsAgent } from 'node:https';
import { sign } from 'aws4';
import type { Limits } from '../http-handler';

export interface Identity {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}

/** A request before it is signed. */
export interface Unsigned {
  method: 'DELETE' | 'GET' | 'HEAD' | 'POST' | 'PUT';
  /** Percent-encoded. */
  path: string;
  headers: Record<string, string>;
  /** In parts: their SHA-256 is in the header X-Amz-Content-Sha256. */
  body?: Buffer | string | readonly Buffer[];
}

export interface Route {
  url: URL;
  service: string;
  region: string;
  agent: HttpAgent | HttpsAgent;
  identity: Identity;
  /** Of AWS's clock against this machine's, ms. */
  clockOffset: number;
  limits: Limits;
}

/** How a request is sent. */
export interface SendOptions {
  signal?: AbortSignal;
  /** Called with the bytes of the body that were written since the last call; with 0 when a request without a body is written. */
  onWritten?: (bytes: number) => void;
}

/** A body whose progress is told is written in pieces of this size, bytes. */
const PIECE_BYTES = 64 * 1024;

/** Signs a request and sends it once. Resolves with the head of the answer. @throws what Node's http throws */
export function sendSigned(
  unsigned: Unsigned,
  route: Route,
  { signal, onWritten }: SendOptions = {},
): Promise<IncomingMessage> {
  const { url, service, region, agent, identity, limits } = route;
  const { body } = unsigned;
  const { method, path, headers } = sign(
    {
      ...unsigned,
      body: isParts(body) ? undefined : body,
      service,
      region,
      host: url.host,
      headers: { ...unsigned.headers, 'X-Amz-Date': signingDate(route.clockOffset) },
    },
    identity,
  );
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(
      {
        protocol: url.protocol,
        hostname: url.hostname.replace(/^\[|\]$/g, ''),
        port: url.port || undefined,
        method,
        path,
        headers: headers as Record<string, string>,
        agent,
        signal,
        timeout: limits.silent,
      },
      resolve,
    );
    const endLate = () => request.destroy(Object.assign(new Error('The answer is late.'), { name: 'TimeoutError' }));
    const timer = setTimeout(endLate, limits.whole).unref();
    request.on('timeout', endLate);
    request.on('error', reject);
    request.on('close', () => clearTimeout(timer));
    if (body === undefined || typeof body === 'string') request.end(body, () => onWritten?.(0));
    else writeCounted(request, isParts(body) ? body : [body], onWritten);
  });
}

function isParts(body: Unsigned['body']): body is readonly Buffer[] {
  return Array.isArray(body);
}

function writeCounted(request: ClientRequest, parts: readonly Buffer[], onWritten?: (bytes: number) => void): void {
  for (const part of parts)
    for (let at = 0; at < part.length; at += onWritten ? PIECE_BYTES : part.length) {
      const piece = onWritten ? part.subarray(at, at + PIECE_BYTES) : part;
      request.write(piece, (error) => void (error ?? onWritten?.(piece.length)));
    }
  request.end();
}

/** 20261129T200000Z */
export function signingDate(clockOffset: number): string {
  return new Date(Date.now() + clockOffset).toISOString().replace(/[:-]|\.\d{3}/g, '');
}

/** All of an answer. @throws Error where it is longer than `limit` bytes or cut off. */
export async function readAnswer(answer: IncomingMessage, limit: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of answer as AsyncIterable<Buffer>) {
    size += piece.length;
    if (size > limit) throw new Error(`The answer is longer than ${limit} bytes.`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
