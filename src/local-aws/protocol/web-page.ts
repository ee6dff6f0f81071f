import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

/** The names that local AWS is reached by; S3's virtual hosts (`bucket.localhost`) among them. */
const OWN_HOST = /^(127\.0\.0\.1|\[::1\]|([a-z0-9-]+\.)*localhost)$/i;

type Request = Pick<IncomingMessage, 'headers' | 'url'> & Partial<IncomingMessage>;

/**
 * Local AWS runs commands as the user who started it. A browser sends a page's requests to it as well: with an Origin,
 * with Sec-Fetch-Site, or, where a page's name was rebound to loopback, with the page's own host.
 * @param port that the request came in on.
 * @param hosts names besides, at any port.
 * @returns why the request is refused; undefined: it comes from a program.
 */
export function rejectWebPage(request: Request, port: number, hosts: readonly string[] = []): string | undefined {
  const { url = '/' } = request;
  const { origin, 'sec-fetch-site': site } = request.headers;
  const reason =
    origin !== undefined
      ? 'an Origin header'
      : site !== undefined && site !== 'none'
        ? 'a Sec-Fetch-Site header'
        : hasOwnHost(request, port, hosts)
          ? // What a browser sends to a proxy names its host there as well.
            /^[/*]/.test(url)
            ? undefined
            : 'another address than a path'
          : 'a Host header that is not its own';
  return (
    reason &&
    `Local AWS refuses this request: it has ${reason}. Local AWS runs commands on this machine, so it answers programs only, ` +
      `never a web page. Its address is http://127.0.0.1:${port}.\n`
  );
}

/** Whether a request has one Host header, and it names this machine's loopback at a port, or one of the other names. */
export function hasOwnHost(
  { headers, headersDistinct }: Request,
  port: number,
  others: readonly string[] = [],
): boolean {
  const { host = '' } = headers;
  if ((headersDistinct?.host?.length ?? 1) !== 1) return false;
  const [, name, given = '80'] = /^(.*?)(?::(\d+))?$/.exec(host)!;
  return others.includes(name) || (OWN_HOST.test(name) && Number(given) === port);
}

/** Answers a request for an upgrade with 403, and hangs up. */
export function rejectUpgrade(socket: Duplex, reason: string): void {
  socket.on('error', () => undefined);
  const head = `Connection: close\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(reason)}`;
  socket.end(`HTTP/1.1 403 Forbidden\r\n${head}\r\n\r\n${reason}`);
}
