import type { PortConnection } from './port-connection';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { Aws } from '../../aws/clients';
import { startFixture, type Fixture } from '../../local-aws/local-aws.fixture';
import { MuxPort } from '../../local-aws/session/mux-port';
import type { LocalAwsOptions } from '../../local-aws/types';
import { until } from '../../system/until.fixture';
import { openPort, type PortSession } from './port-session';

const MB = 1024 * 1024;
/** Several windows of smux, and more than the buffers of the way hold. */
const PIECES = 16;
const hash = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

describe('a session to a port', () => {
  const before = { ...process.env };
  let at: Fixture;
  let aws: Aws;
  let box: string;
  let server: Server;
  let session: PortSession;
  let refused: number;

  const begin = async (onConnection: (socket: Socket) => void, options: Partial<LocalAwsOptions> = {}) => {
    at = await startFixture(options);
    box = at.aws.named.get('box')!.id;
    Object.assign(process.env, at.aws.environment);
    aws = new Aws({});
    refused = 0;
    server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => undefined);
      onConnection(socket);
    });
    server.listen(0, at.aws.instances.get(box)!.privateIp);
    await once(server, 'listening');
    session = await open();
  };
  const port = () => (server.address() as { port: number }).port;
  const open = (to = port()) => openPort(aws, box, { port: to, reason: 'test', onRefused: () => void refused++ });
  afterEach(async () => {
    await session.close();
    aws.close();
    server.close();
    await at.close();
    process.env = { ...before };
  });
  const echo = (socket: Socket) => void socket.pipe(socket);
  /** Sends bytes and ends; what comes back. */
  const exchange = async (connection: Duplex, bytes: Buffer) => {
    const answer = buffer(connection);
    connection.end(bytes);
    return answer;
  };
  const connectionError = (connection: Duplex) =>
    new Promise<string>((resolve) => connection.once('error', ({ message }) => resolve(message)));

  describe.each([
    ['an agent of many connections', '3.3.0.0'],
    ['an agent of one connection', '3.0.196.0'],
  ])('of %s', (_, agentVersion) => {
    const sessions = { agentVersion };

    it('carries what the server says first, and the answer after', async () => {
      await begin(
        (socket) => {
          socket.write('hello ');
          socket.on('data', (data) => socket.write(`<${data}>`));
        },
        { sessions },
      );
      const connection = session.connect();
      let said = '';
      connection.on('data', (data) => (said += data));
      await until(() => said === 'hello ', { what: () => said });
      connection.write('a');
      await until(() => said === 'hello <a>', { what: () => said });
      expect(session.multiplexed).toBe(agentVersion === '3.3.0.0');
      connection.destroy();
    });

    it('carries many bytes both ways, whole and in order', async () => {
      await begin(echo, { sessions });
      const connection = session.connect();
      const bytes = randomBytes(MB);
      const got: Buffer[] = [];
      let length = 0;
      connection.on('data', (data: Buffer) => {
        got.push(data);
        length += data.length;
      });
      connection.write(bytes);
      await until(() => length === bytes.length, { seconds: 240, what: () => String(length) });
      expect(hash(Buffer.concat(got))).toBe(hash(bytes));
      connection.destroy();
    });

    it('says that nothing listens', async () => {
      await begin(echo, { sessions });
      const closed = port();
      await session.close();
      server.close();
      session = await open(closed);
      const connection = session.connect();
      connection.on('error', () => undefined).resume();
      await new Promise<void>((resolve) => connection.once('end', resolve).once('close', resolve));
      expect(refused).toBe(1);
    });

    it('destroys its connections when it ends', async () => {
      await begin(echo, { sessions });
      const connection = session.connect();
      const failed = connectionError(connection);
      await session.close();
      expect(await failed).toMatch(/ended|terminated/);
      expect(await session.ended).toMatch(/ended|terminated/);
    });
  });

  it.each([
    ['of another version', '0200000003000000', 'a frame has the version 2 instead of 1'],
    ['with an unknown command', '0104080003000000', 'a frame has the unknown command 4'],
    ['that opens a connection', '0100000004000000', 'the instance opens a connection to this machine'],
    ['that are none', 'ff'.repeat(100), 'a frame has the version 255 instead of 1'],
  ])('ends if the instance sends frames %s', async (_, frames, why) => {
    await begin(echo);
    const forged = jest.spyOn(MuxPort.prototype, 'write').mockImplementation(function (this: MuxPort) {
      void this['output'].send(Buffer.from(frames, 'hex'));
    });
    const failed = connectionError(session.connect());
    await expect(session.ended).rejects.toMatchObject({
      code: 'SESSION_PROTOCOL',
      message: `The port session of ${box} is not smux: ${why}.`,
    });
    expect(await failed).toContain('is not smux');
    forged.mockRestore();
  });

  it('ignores data of connections that there are not', async () => {
    await begin(echo);
    const forged = jest.spyOn(MuxPort.prototype, 'write').mockImplementationOnce(function (this: MuxPort) {
      for (let sent = 0; sent < PIECES; sent++) void this['output'].send(Buffer.from('0102010009000000aa', 'hex'));
      void this['output'].send(Buffer.from('0101000003000000', 'hex'));
    });
    expect(String(await exchange(session.connect(), Buffer.from('lost')))).toBe('');
    forged.mockRestore();
    expect(String(await exchange(session.connect(), Buffer.from('x')))).toBe('x');
  });

  it('carries 20 connections at once, each its own bytes', async () => {
    await begin(echo);
    const all = [...Array(20).keys()].map((at) => Buffer.alloc(100_000 + at, `${at} `));
    const answers = await Promise.all(all.map((bytes) => exchange(session.connect(), bytes)));
    expect(answers.map(hash)).toEqual(all.map(hash));
  });

  it('carries many pieces, whole and in order', async () => {
    const bytes = randomBytes(MB);
    await begin(async (socket) => {
      for (let sent = 0; sent < PIECES; sent++) if (!socket.write(bytes)) await once(socket, 'drain');
      socket.end();
    });
    const sum = createHash('sha256');
    for await (const data of session.connect()) sum.update(data as Buffer);
    const expected = createHash('sha256');
    for (let part = 0; part < PIECES; part++) expected.update(bytes);
    expect(sum.digest('hex')).toBe(expected.digest('hex'));
  });

  it('brings the answer to a client that has ended its half', async () => {
    await begin((socket) => void socket.once('data', () => setTimeout(() => socket.end('the answer'), 500)));
    expect(String(await exchange(session.connect(), Buffer.from('a question')))).toBe('the answer');
  });

  it('closes the connection to a server that does not answer a client that has ended', async () => {
    let ended = false;
    await begin((socket) => void socket.resume().on('end', () => (ended = true)));
    await exchange(session.connect(), Buffer.from('a question'));
    await until(() => ended);
  });

  it('takes no more from a client than a server reads, and then all of it', async () => {
    let read!: () => void;
    const reading = new Promise<void>((resolve) => (read = resolve));
    let length = 0;
    await begin(async (socket) => {
      socket.pause();
      await reading;
      socket.on('data', (data) => (length += data.length)).resume();
    });
    const connection = session.connect();
    const piece = Buffer.alloc(MB);
    let sent = 0;
    let settled = 0;
    const write = () => {
      while (sent < 32 && connection.write(piece)) sent++;
      if (sent < 32) {
        sent++;
        connection.once('drain', write);
      }
    };
    write();
    // It takes what buffers hold on the way, and stays there.
    await until(async () => {
      settled = sent;
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      return settled === sent && sent > 1;
    });
    expect(sent).toBeLessThan(32);
    read();
    await until(() => length === 32 * MB, { what: () => `${sent} MB sent, ${length} bytes read` });
    connection.destroy();
  });

  it('keeps a bounded part of what a client does not read, and then brings all of it', async () => {
    const bytes = randomBytes(16 * MB);
    await begin((socket) => void socket.end(bytes));
    const connection = session.connect() as PortConnection;
    // It is held: nothing more is taken.
    await until(async () => {
      const length = connection.unread;
      await new Promise((resolve) => setTimeout(resolve, 500));
      return length > 0 && length === connection.unread;
    });
    expect(connection.unread).toBeLessThan(6 * MB);
    expect(hash(await exchange(connection, Buffer.alloc(0)))).toBe(hash(bytes));
  });
});
