import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { LinkProfile } from '../../src/local-aws/link/network';
import { Tunnel } from './tunnel';

const KB = 1_000;

describe('a tunnel', () => {
  let server: Server;
  let tunnel: Tunnel;
  afterEach(() => {
    tunnel.close();
    server.close();
  });

  const open = async (profile: LinkProfile, serve: (socket: Socket) => void, calledFromFar = false) => {
    server = createServer({ allowHalfOpen: true }, serve).listen(0, '127.0.0.1');
    await once(server, 'listening');
    tunnel = await Tunnel.open((server.address() as AddressInfo).port, profile, calledFromFar);
    return connect({ port: tunnel.port, host: '127.0.0.1', allowHalfOpen: true });
  };
  const received = async (socket: Socket) => {
    const parts: Buffer[] = [];
    for await (const part of socket.iterator({ destroyOnReturn: false })) parts.push(part as Buffer);
    return Buffer.concat(parts);
  };

  it('carries all bytes in order until both sides have closed', async () => {
    const socket = await open({ roundTrip: 10, up: 50_000 * KB }, (other) => void other.pipe(other));
    const sent = Buffer.from(Array.from({ length: 700 * KB }, (_, index) => index % 251));
    socket.end(sent);
    expect((await received(socket)).equals(sent)).toBe(true);
    expect(tunnel.link.traffic).toMatchObject({ up: sent.length, down: sent.length, connections: 1 });
  });

  it('delays both directions, and each new connection once', async () => {
    const socket = await open({ roundTrip: 60, connect: 2 }, (other) => void other.pipe(other));
    const begun = performance.now();
    socket.write('x');
    await once(socket, 'data');
    expect(performance.now() - begun).toBeGreaterThanOrEqual(175);
    // Several, of which the quickest counts: the machine may be busy.
    const times: number[] = [];
    for (let n = 0; n < 10; n++) {
      const again = performance.now();
      socket.write('x');
      await once(socket, 'data');
      times.push(performance.now() - again);
    }
    expect(Math.min(...times)).toBeGreaterThanOrEqual(60);
    expect(Math.min(...times)).toBeLessThan(150);
  });

  it.each([
    ['from the client, up', false],
    ['from the client where AWS calls, up as well', true],
  ])('has a rate of its own in each direction: %s', async (_, calledFromFar) => {
    const body = Buffer.alloc(300 * KB);
    const slowUp = { up: 1_000 * KB, down: 100_000 * KB };
    const begun = performance.now();
    if (calledFromFar) {
      const socket = await open(slowUp, (client) => client.end(body), true);
      await received(socket);
    } else {
      let got!: Promise<Buffer>;
      const socket = await open(slowUp, (aws) => {
        got = received(aws);
        got.then(() => aws.end());
      });
      socket.end(body);
      await received(socket);
    }
    expect(performance.now() - begun).toBeGreaterThanOrEqual(300);
    expect(tunnel.link.traffic).toMatchObject({ up: body.length, down: 0 });
  });
});
