import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { refuse, SECURITY_HEADERS, type OwnHost } from './guard';
import { Download, type Routes } from './routes';
import { Session } from './session';
import { troubleOf } from './trouble';

/** The files of the page: no other name leads to a file. */
const ASSETS: Record<string, [file: string, type: string]> = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/page.js': ['page.js', 'text/javascript; charset=utf-8'],
  '/page.css': ['page.css', 'text/css; charset=utf-8'],
};

/** The status of answers by their problem; of all others, 502: AWS has refused or failed. */
const STATUS: Record<string, number> = {
  OPTION_INVALID: 400,
  NO_RUN: 404,
  NO_CHECKPOINT: 404,
  PART_MISSING: 404,
  INTERNAL: 500,
};

export interface UiServerOptions {
  port: number;
  /** The directory of the page's files. */
  assets: string;
  routes: Routes;
  isOwnHost: OwnHost;
}

export interface UiServer {
  port: number;
  /** With the token, which is used once. */
  url: string;
  close(): Promise<void>;
}

/** Serves the page and its API on 127.0.0.1 to the browser that has opened the address with the token. */
export async function startUiServer({ port: wanted, assets, routes, isOwnHost }: UiServerOptions): Promise<UiServer> {
  const files = new Map(
    Object.entries(ASSETS).map(([path, [file, type]]) => [path, { type, bytes: readFileSync(join(assets, file)) }]),
  );
  const session = new Session();
  const server = createServer({ requestTimeout: 30_000, headersTimeout: 10_000 }, (request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  // Node drops the headers above this number, 2,000 if it is not set: an Origin header could be one of them.
  server.maxHeadersCount = 0;

  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const { port } = server.address() as AddressInfo;
    const reason = refuse(request, port, isOwnHost);
    if (reason !== undefined) return deny(request, response, `nx-ec2 ui refuses this request: ${reason}.`);
    const { pathname, searchParams } = new URL(request.url!, `http://127.0.0.1:${port}`);
    const isKnown = session.accepts(request.headers.cookie, port);
    const token = searchParams.get('token');
    if (pathname === '/' && token !== null) {
      const cookie = isKnown ? null : session.exchange(token, port);
      if (isKnown || cookie !== null) {
        const headers = { ...SECURITY_HEADERS, location: '/', ...(cookie !== null && { 'set-cookie': cookie }) };
        return void response.writeHead(303, headers).end();
      }
    }
    if (!isKnown)
      return deny(request, response, 'This address was opened before, or is not known. Run again: npx nx-ec2 ui');
    const asset = files.get(pathname);
    if (asset)
      return void response.writeHead(200, { ...SECURITY_HEADERS, 'content-type': asset.type }).end(asset.bytes);
    await answerApi(routes, pathname, searchParams, response);
  };

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(wanted, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `http://127.0.0.1:${port}/${session.query}`,
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

function deny(request: IncomingMessage, response: ServerResponse, text: string): void {
  request.resume();
  const headers = { ...SECURITY_HEADERS, 'content-type': 'text/plain; charset=utf-8', connection: 'close' };
  response.writeHead(403, headers).end(`${text}\n`);
}

async function answerApi(routes: Routes, path: string, query: URLSearchParams, response: ServerResponse) {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const json = (status: number, value: unknown) =>
    response
      .writeHead(status, { ...SECURITY_HEADERS, 'content-type': 'application/json; charset=utf-8' })
      .end(JSON.stringify(value));
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
  if (!route) return void json(404, { code: 'OPTION_INVALID', message: 'There is nothing at this address.' });
  let found: unknown;
  try {
    found = await route(query, gone.signal);
  } catch (error) {
    if (gone.signal.aborted) return void response.destroy();
    const trouble = troubleOf(error);
    return void json(STATUS[trouble.code] ?? 502, trouble);
  }
  if (!(found instanceof Download)) return void json(200, found);
  // Never shown by the browser: what a file holds, anybody has written who could write to the run.
  response.writeHead(200, {
    ...SECURITY_HEADERS,
    'content-security-policy': "default-src 'none'; sandbox",
    'content-type': 'application/octet-stream',
    'content-length': found.size,
    'content-disposition': `attachment; filename*=UTF-8''${encodeFileName(found.name)}`,
  });
  // The browser sees that the download is cut off where a part is missing or damaged.
  await pipeline(found.content(gone.signal), response);
}

/** A file's name in a header: nothing but what RFC 5987 allows. */
function encodeFileName(name: string): string {
  const safe = Buffer.from(name.slice(-200))
    .toString()
    .replace(/[/\\:\0]/g, '_');
  return encodeURIComponent(safe.toWellFormed()).replace(/['()*]/g, (char) => `%${char.charCodeAt(0).toString(16)}`);
}
