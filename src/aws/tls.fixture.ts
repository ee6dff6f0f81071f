import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { createServer as createHttpServer } from 'node:http';
import { connect, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';

/** One value of ASN.1, DER-encoded. */
function der(tag: number, ...contents: Buffer[]): Buffer {
  const content = Buffer.concat(contents);
  const length =
    content.length < 0x80
      ? Buffer.from([content.length])
      : content.length < 0x100
        ? Buffer.from([0x81, content.length])
        : Buffer.from([0x82, content.length >> 8, content.length & 0xff]);
  return Buffer.concat([Buffer.from([tag]), length, content]);
}

const SEQUENCE = 0x30;
const SET = 0x31;
const ECDSA_WITH_SHA256 = der(SEQUENCE, der(0x06, Buffer.from('2a8648ce3d040302', 'hex')));
const COMMON_NAME = der(0x06, Buffer.from('550403', 'hex'));
const SUBJECT_ALT_NAME = der(0x06, Buffer.from('551d11', 'hex'));

/**
 * A certificate for `host` that is its own authority (RFC 5280), good for an hour: Node can sign but not write one, and
 * the tests are to need nothing but Node.
 */
export function ownCertificate(host: string): { key: string; cert: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const name = der(SEQUENCE, der(SET, der(SEQUENCE, COMMON_NAME, der(0x0c, Buffer.from(host)))));
  const time = (offset: number) =>
    der(0x18, Buffer.from(new Date(Date.now() + offset).toISOString().replace(/[-:T]|\.\d+/g, '')));
  const alternative = der(SEQUENCE, SUBJECT_ALT_NAME, der(0x04, der(SEQUENCE, der(0x82, Buffer.from(host)))));
  const body = der(
    SEQUENCE,
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    ECDSA_WITH_SHA256,
    name,
    der(SEQUENCE, time(-3_600_000), time(3_600_000)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, der(SEQUENCE, alternative)),
  );
  const whole = der(SEQUENCE, body, ECDSA_WITH_SHA256, der(0x03, Buffer.from([0]), sign('sha256', body, privateKey)));
  const lines = whole.toString('base64').match(/.{1,64}/g)!;
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    cert: `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`,
  };
}

interface Listening {
  port: number;
  close(): Promise<void>;
}

async function listen(server: Server, sockets: Set<Socket>): Promise<Listening> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function join(sockets: Set<Socket>, one: Socket, other: Socket): void {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ]) {
    sockets.add(from);
    from.on('error', () => to.destroy()).on('close', () => (sockets.delete(from), to.destroy()));
    from.pipe(to);
  }
}

/** TLS in front of a port of this machine. */
export function startTls(certificate: { key: string; cert: string }, port: number): Promise<Listening> {
  const sockets = new Set<Socket>();
  return listen(
    createTlsServer(certificate, (socket) => join(sockets, socket, connect(port, '127.0.0.1'))).on(
      'tlsClientError',
      () => undefined,
    ),
    sockets,
  );
}

export interface Proxy extends Listening {
  /** What was asked for, `host:port`, in order. */
  asked: string[];
}

/** A CONNECT proxy that requires a password, and that alone resolves the host. */
export async function startProxy(host: string, user: string, password: string): Promise<Proxy> {
  const sockets = new Set<Socket>();
  const asked: string[] = [];
  const expected = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
  const server = createHttpServer().on('connect', (request, socket: Socket, head: Buffer) => {
    if (request.headers['proxy-authorization'] !== expected) {
      return void socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
    }
    asked.push(request.url!);
    const [name, port] = request.url!.split(':');
    if (name !== host) return void socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n');
    const target = connect(Number(port), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      target.write(head);
      join(sockets, socket, target);
    });
    target.on('error', () => socket.destroy());
  });
  return { asked, ...(await listen(server, sockets)) };
}
