import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { Problem } from '../../report/problem';
import { isOtherUser } from '../../system/peer-user';
import type { PortPair } from './port-option';

/** Only programs of this machine may connect. */
const LOCALHOST = '127.0.0.1';
/** Connections at once; with an agent that has a session for each, fewer. */
export const MAX_CONNECTIONS = 256;
export const MAX_SINGLE_CONNECTIONS = 16;

export interface LocalPortEvents {
  /** Opens the other end of a connection; undefined while there is none. */
  connect(): Promise<Duplex | undefined>;
  /** A local instance has connected to this port, because nothing else listens on it. */
  onLoop(): void;
}

/** A port of this machine whose connections are carried to an instance. */
export class LocalPort {
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    private readonly events: LocalPortEvents,
  ) {
    server.on('connection', (socket: Socket) => void this.accept(socket));
    server.on('error', () => undefined);
  }

  /**
   * Listens on the port that is asked for, or on any free one where that is in use and was not named.
   * @throws Problem PORT_IN_USE, PORT_UNAVAILABLE
   */
  static async open({ remote, local }: PortPair, events: LocalPortEvents): Promise<LocalPort> {
    const ports = local === undefined ? [remote, 0] : [local];
    let reason: NodeJS.ErrnoException | undefined;
    for (const port of ports) {
      const server = createServer({ allowHalfOpen: true, noDelay: true });
      try {
        await listen(server, port);
        return new LocalPort(server, events);
      } catch (error) {
        reason = error as NodeJS.ErrnoException;
      }
    }
    throw unavailable(remote, local ?? remote, reason!);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  set maxConnections(count: number) {
    this.server.maxConnections = count;
  }

  /** Closes the port, or only what is connected to it. */
  close(): void {
    this.server.close();
    this.disconnect();
  }

  disconnect(): void {
    for (const socket of this.sockets) socket.resetAndDestroy();
  }

  private async accept(socket: Socket): Promise<void> {
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
    socket.on('error', () => undefined);
    // From an address of a local instance: this port is what it has forwarded, and would be forwarded again and again.
    if (socket.remoteAddress !== LOCALHOST) {
      this.events.onLoop();
      return void socket.destroy();
    }
    // Programs on the instance take whoever connects there for its user.
    if (isOtherUser(socket)) return void socket.resetAndDestroy();
    const remote = await this.events.connect().catch(() => undefined);
    if (!remote || socket.destroyed) {
      remote?.destroy();
      socket.resetAndDestroy();
      return;
    }
    let ended = false;
    remote.on('error', () => undefined);
    remote.on('end', () => {
      ended = true;
      // The agent takes nothing more of a connection whose server has ended.
      socket.destroySoon();
    });
    remote.on('close', () => void (ended || socket.resetAndDestroy()));
    socket.on('close', () => remote.destroy());
    socket.pipe(remote).pipe(socket, { end: false });
  }
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: LOCALHOST, port, exclusive: true }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function unavailable(remote: number, port: number, { code, message }: NodeJS.ErrnoException): Problem {
  if (code === 'EADDRINUSE')
    return new Problem('PORT_IN_USE', `The port ${port} of this machine is in use.`, {
      next: `Name another one: --port=${remote}:<port>, or --port=${remote} for any that is free.`,
    });
  return new Problem('PORT_UNAVAILABLE', `Can't listen on the port ${port} of this machine: ${message}.`, {
    next: `Name another one: --port=${remote}:<port>`,
  });
}
