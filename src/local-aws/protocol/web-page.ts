import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

/** The names that local AWS is reached by; S3's virtual hosts (`bucket.localhost`) among them. */
const OWN_HOST = /^(127\.0\.0\.1|\[::1\]|([a-z0-9-]+\.)*localhost)$/i;

/**
 * Local AWS runs commands as the user who started it. A browser sends a page's requests to it as well: with an Origin,
 * with Sec-Fetch-Site, or, where a page's name was rebound to loopback, with the page's own host.
 * @param port that the request came in on.
 * @param hosts names besides, at any port.
 * @returns why the request is refused; undefined: it comes from a program.
 */
export function rejectWebPage(
  { headers, headersDistinct, url = '/' }: Pick<IncomingMessage, 'headers' | 'url'> & Partial<IncomingMessage>,
  port: number,
  hosts: readonly string[] = [],
): string | undefined {
  const { origin, host = '', 'sec-fetch-site': site } = headers;
  const reason =
    origin !== undefined
      ? 'an Origin header'
      : site !== undefined && site !== 'none'
        ? 'a Sec-Fetch-Site header'
        : (headersDistinct?.host?.length ?? 1) === 1 && isOwnHost(host, port, hosts)
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

function isOwnHost(host: string, port: number, others: readonly string[]): boolean {
  const [, name, given = '80'] = /^(.*?)(?::(\d+))?$/.exec(host)!;
  return others.includes(name) || (OWN_HOST.test(name) && Number(given) === port);
}

/** Answers a request for an upgrade with 403, and hangs up. */
export function rejectUpgrade(socket: Duplex, reason: string): void {
  socket.on('error', () => undefined);
  const head = `Connection: close\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(reason)}`;
  socket.end(`HTTP/1.1 403 Forbidden\r\n${head}\r\n\r\n${reason}`);
}
