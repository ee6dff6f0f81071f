import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { randomBytes } from 'node:crypto';
import { Aws } from '../../aws/clients';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { startPipeline } from '../../run/pipeline.fixture';
import { until } from '../../system/until.fixture';
import { openSsh } from './ssh-session';

describe('a session to the SSH server', () => {
  let at: Fixture;
  let aws: Aws;
  let box: string;
  let server: Server | undefined;
  beforeAll(async () => {
    at = await startPipeline();
    box = at.aws.named.get('box')!.id;
    aws = new Aws({});
  });
  afterAll(async () => {
    aws.close();
    await at.close();
  });
  afterEach(() => void server?.close());

  const listen = async (take: Parameters<typeof createServer>[1]) => {
    server = createServer({ allowHalfOpen: true }, take);
    server.listen(0, at.aws.instances.get(box)!.privateIp);
    await once(server, 'listening');
    return (server.address() as { port: number }).port;
  };

  it('carries the bytes of one connection, and ends with it after the last of them', async () => {
    const sent = randomBytes(3 * 1024 * 1024);
    const received: Buffer[] = [];
    const port = await listen((socket) => {
      socket.on('data', (data) => {
        received.push(data);
        if (Buffer.concat(received).length === 5) socket.end(sent);
      });
    });
    const { connection, ended } = await openSsh(aws, box, { port, reason: 'test' });
    connection.write('hello');
    const pieces: Buffer[] = [];
    // A reader that is slow at first: nothing is lost at the end of the session.
    await once(connection, 'readable');
    for await (const piece of connection as AsyncIterable<Buffer>) pieces.push(piece);
    expect(Buffer.concat(received).toString()).toBe('hello');
    expect(Buffer.concat(pieces).equals(sent)).toBe(true);
    await ended;
  });

  it('closes the connection with the session', async () => {
    let closed = false;
    const port = await listen((socket) => {
      socket.write('SSH-2.0-x\r\n');
      socket.on('error', () => (closed = true)).on('end', () => (closed = true));
      socket.resume();
    });
    const { connection, close, ended } = await openSsh(aws, box, { port, reason: 'test' });
    await once(connection, 'data');
    await close();
    await ended;
    await until(() => closed);
  });

  it('says that nothing listens', async () => {
    const port = await listen(() => undefined);
    server!.close();
    await once(server!, 'close');
    const { ended } = await openSsh(aws, box, { port, reason: 'test' });
    await expect(ended).rejects.toMatchObject({
      code: 'SSH_UNAVAILABLE',
      message: expect.stringContaining(`Nothing listens on the port ${port} of ${box}`),
    });
  });
});
