import type { AddressInfo } from 'node:net';
import { WebSocketServer } from 'ws';
import type { Aws } from '../../aws/clients';
import { connectStream } from './connection';

describe('a connection of a session', () => {
  it('is closed if its peer does not read what is sent', async () => {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
    server.on('connection', (_, request) => request.socket.pause());
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    const aws = { webSocketAgent: async () => undefined } as unknown as Aws;
    let close!: (why: string) => void;
    const closed = new Promise<string>((resolve) => (close = resolve));
    const on = { message: () => undefined, garbage: () => undefined, close };
    const connection = await connectStream(aws, { url: `ws://127.0.0.1:${port}`, token: 't' }, 'client', on);
    let sent = 0;
    const timer = setInterval(() => {
      connection.send(Buffer.alloc(1024 * 1024));
      sent++;
    }, 1);
    await closed;
    clearInterval(timer);
    expect(sent).toBeLessThan(200);
    for (const client of server.clients) client.terminate();
    await new Promise((resolve) => server.close(resolve));
  });
});
