import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer, type WebSocket } from 'ws';
import { decodeUri } from '../protocol/decode-uri';
import type { Faults } from '../link/faults';
import type { Link } from '../link/network';
import type { Sessions } from './sessions';

/** Who has not said in this time which session it wants is hung up on, ms. */
const TOKEN_TIMEOUT_MS = 10_000;

/** The WebSockets that sessions' frames go over: one a client, at the distance of its link, with what goes wrong on it. */
export class Streams {
  private readonly server = new WebSocketServer({ noServer: true });

  constructor(
    private readonly sessions: Sessions,
    private readonly faults: Faults,
    private readonly link: () => Link,
  ) {}

  /** Takes a request for an upgrade. @param connected resolves when its connection is set up. */
  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, connected: Promise<void>): Promise<void> {
    socket.on('error', () => undefined);
    const link = this.link();
    await connected;
    await link.thereAndBack();
    const fault = this.faults.take('session', 'connect');
    if (fault?.delay) await new Promise((resolve) => setTimeout(resolve, fault.delay));
    const id = sessionId(request.url);
    const session = id === undefined ? undefined : this.sessions.get(id);
    if (fault?.cut || !session) {
      socket.end(fault?.cut ? undefined : 'HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
      return;
    }
    if (fault?.error) {
      const { status = 403, code } = fault.error;
      socket.end(`HTTP/1.1 ${status} ${code}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    this.server.handleUpgrade(request, socket, head, (client) => this.open(client, link, session.id));
  }

  close(): void {
    for (const client of this.server.clients) client.terminate();
    this.server.close();
  }

  private open(client: WebSocket, link: Link, id: string): void {
    const session = this.sessions.get(id)!;
    let bytes = 0;
    let late: Buffer | undefined;
    const down = link.lane<Buffer | null>('down', (frame) => {
      if (frame) client.send(frame);
      else client.close(1000);
    });
    /** Carries a frame, unless something goes wrong with it. */
    const pass = (direction: 'output' | 'input', frame: Buffer, carry: (frame: Buffer) => void) => {
      bytes += frame.length;
      const { frame: what } = this.faults.takeFrame(direction, bytes) ?? {};
      if (what === 'cut') return client.terminate();
      if (what === 'drop') return;
      if (what === 'swap' && !late) {
        late = frame;
        return;
      }
      carry(frame);
      if (what === 'duplicate') carry(frame);
      if (late) carry(late);
      late = undefined;
    };
    const end = {
      send: (frame: Buffer) => pass('output', frame, (each) => down.send(each, each.length)),
      close: () => down.send(null, 0),
    };
    const unnamed = setTimeout(() => client.terminate(), TOKEN_TIMEOUT_MS);
    let open = false;
    const up = link.lane<{ data: Buffer; binary: boolean }>('up', ({ data, binary }) => {
      if (open) {
        if (binary) pass('input', data, (each) => session.receive(each));
        return;
      }
      clearTimeout(unnamed);
      const hello = greeting(data, binary);
      // A token opens one stream.
      if (!hello || !session.token || hello.token !== session.token || session.ended !== undefined) {
        client.close(1008, 'invalid token');
        return;
      }
      session.token = '';
      open = true;
      session.attach(end, hello.version);
    });
    client.on('message', (data: Buffer, binary: boolean) => up.send({ data, binary }, data.length));
    client.on('error', () => undefined);
    client.on('close', () => {
      clearTimeout(unnamed);
      session.detach(end);
    });
  }
}

/** The text that opens a stream. */
function greeting(data: Buffer, binary: boolean): { token: unknown; version: string } | undefined {
  if (binary) return undefined;
  try {
    const said = JSON.parse(data.toString()) as Record<string, unknown>;
    if (said.MessageSchemaVersion !== '1.0' || !said.RequestId || !said.ClientId) return undefined;
    return { token: said.TokenValue, version: String(said.ClientVersion ?? '0') };
  } catch {
    return undefined;
  }
}

/** The session that the address of a stream names; undefined where it names none. */
function sessionId(url = ''): string | undefined {
  const encoded = /^\/v1\/data-channel\/([^/?]+)\?role=publish_subscribe$/.exec(url)?.[1];
  try {
    return encoded === undefined ? undefined : decodeUri(encoded);
  } catch {
    return undefined;
  }
}
