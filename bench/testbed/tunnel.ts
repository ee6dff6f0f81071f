import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { Link, until, type LinkProfile, type Wire } from '../../src/local-aws/link/network';

/** What may be on its way in one direction of one connection, bytes: as a TCP window has a limit. */
const WINDOW = 4 * 1024 * 1024;

/** A port of loopback that leads to another one over a link: a delay each way, shared bandwidth, the price of a connection. */
export class Tunnel {
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    readonly link: Link,
  ) {}

  /** @param calledFromFar what comes in at the tunnel's port is on AWS's side of the link, as when an instance fetches. */
  static async open(port: number, profile: LinkProfile, calledFromFar: boolean): Promise<Tunnel> {
    const link = new Link(profile);
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
    const tunnel = new Tunnel(server, link);
    server.on('connection', (caller) => void tunnel.carry(caller, port, profile, calledFromFar));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return tunnel;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  close(): void {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }

  private async carry(
    caller: Socket,
    port: number,
    { roundTrip = 0 }: LinkProfile,
    calledFromFar: boolean,
  ): Promise<void> {
    const opened = performance.now();
    const called = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const end = () => [caller, called].forEach((each) => each.destroy());
    for (const socket of [caller, called]) {
      this.sockets.add(socket);
      socket.setNoDelay();
      // Whatever ends one side ends the other; what is lost with it is for its programs to notice.
      socket.on('error', end);
      socket.on('close', () => this.sockets.delete(socket));
    }
    await this.link.connected(caller, opened);
    const [near, far] = calledFromFar ? [called, caller] : [caller, called];
    const half = roundTrip / 2;
    await Promise.all([pump(near, far, this.link.up, half), pump(far, near, this.link.down, half)]).catch(end);
  }
}

/** Carries what `from` says over a wire, then `delay` further, to `to`, in order. */
async function pump(from: Socket, to: Socket, wire: Wire, delay: number): Promise<void> {
  let arrival = Promise.resolve();
  let underway = 0;
  for await (const part of from.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    for (let at = 0; at < part.length; at += wire.piece) {
      const piece = part.subarray(at, at + wire.piece);
      const carried = await wire.carry(piece.length);
      underway += piece.length;
      arrival = arrival.then(async () => {
        await until(carried + delay);
        if (!to.write(piece)) await once(to, 'drain');
        underway -= piece.length;
      });
      if (underway > WINDOW) await arrival;
    }
  }
  await arrival;
  to.end();
}
