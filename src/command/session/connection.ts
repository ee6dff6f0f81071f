import { randomUUID } from 'node:crypto';
import type { WebSocket } from 'ws';
import type { Aws } from '../../aws/clients';
import { sdk } from '../../aws/sdk';

/** What a stream is opened with. */
export interface StreamAddress {
  url: string;
  token: string;
}

/** The first client that knows separate output streams; what came with later ones is nothing that we do. */
export const CLIENT_VERSION = '1.2.312.0';
const OPEN_TIMEOUT_MS = 15_000;
/** bytes of a message: an agent sends at most some kilobytes in one. */
const MAX_MESSAGE_BYTES = 1024 * 1024;
/** What waits to be sent: a peer that does not read is hung up on, bytes. */
const MAX_UNSENT_BYTES = 8 * 1024 * 1024;
/** A connection is pinged at this interval, and closed if nothing has come from it for the time-out, ms. */
const PING_INTERVAL_MS = 10_000;
const SILENCE_TIMEOUT_MS = 25_000;

/**
 * Opens a WebSocket to a session's stream and says the token.
 * @param clientId one for the whole session.
 * @param on `garbage`: what came is no WebSocket's, or too large; the connection is closed.
 * @throws Error of the network or of the service where it does not open.
 */
export async function connectStream(
  aws: Aws,
  { url, token }: StreamAddress,
  clientId: string,
  on: { message(data: Buffer): void; close(why: string): void; garbage(error: Error): void },
): Promise<{ send(data: Buffer): void; close(): void }> {
  const { WebSocket } = sdk.webSocket();
  const agent = await aws.webSocketAgent(url);
  const socket: WebSocket = new WebSocket(url, {
    agent,
    handshakeTimeout: OPEN_TIMEOUT_MS,
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the connection was closed')));
  });
  socket.removeAllListeners('error');
  let heard = performance.now();
  const hear = () => (heard = performance.now());
  const timer = setInterval(() => {
    if (performance.now() - heard > SILENCE_TIMEOUT_MS) socket.terminate();
    else socket.ping();
  }, PING_INTERVAL_MS);
  let trouble = '';
  socket.on('error', (error: Error & { code?: string }) => {
    trouble = error.message;
    if (error.code?.startsWith('WS_ERR_')) on.garbage(error);
  });
  socket.on('pong', hear);
  socket.on('message', (data: Buffer, binary: boolean) => {
    hear();
    if (binary) on.message(data);
  });
  socket.on('close', (code, reason) => {
    clearInterval(timer);
    on.close(trouble || String(reason) || `the connection was closed (${code})`);
  });
  socket.send(
    JSON.stringify({
      MessageSchemaVersion: '1.0',
      RequestId: randomUUID(),
      TokenValue: token,
      ClientId: clientId,
      ClientVersion: CLIENT_VERSION,
    }),
  );
  return {
    send: (data) => {
      if (socket.bufferedAmount > MAX_UNSENT_BYTES) socket.terminate();
      else socket.send(data, { binary: true }, () => undefined);
    },
    close: () => {
      socket.close();
      setTimeout(() => socket.terminate(), 1_000).unref();
    },
  };
}
