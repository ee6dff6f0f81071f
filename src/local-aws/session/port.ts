import { connect, type Socket } from 'node:net';

/** The agent's end of a port session. */
export interface PortSide {
  /** Whether input can be taken. */
  readonly ready: boolean;
  write(data: Buffer): void;
  /** The client's one connection is closed. */
  disconnect(): void;
  kill(): void;
}

/** What a port session is given. */
export interface PortOutput {
  /** Resolves when more may come. */
  send(data: Buffer): Promise<void>;
  /** Nothing listens on the port: an agent of many connections says so in a message of its own. */
  refused(): void;
  /** No input is taken while it is blocked. */
  block(blocked: boolean): void;
  end(why: string): void;
  /** Ends the session when all that was sent has arrived. */
  done(): void;
}

/**
 * Connects to a port of an instance. Its programs may listen on its own address, on all, or on localhost, which is that
 * of this machine: there, the connection comes from the instance's address.
 */
export async function dial(address: string, port: number): Promise<Socket> {
  const to = (host: string, localAddress?: string) =>
    new Promise<Socket>((resolve, reject) => {
      const socket = connect({ host, port, localAddress, allowHalfOpen: true });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        socket.on('error', () => undefined);
        resolve(socket);
      });
    });
  return to(address).catch(() => to('127.0.0.1', address));
}

/**
 * As agents until 3.0.196: the bytes of one connection, without a word of where it ends. For SSH, agents of each version do
 * this, and the session ends with the connection.
 */
export class SinglePort implements PortSide {
  private socket?: Socket;
  private lost = false;
  private over = false;

  constructor(
    private readonly dialled: () => Promise<Socket>,
    private readonly output: PortOutput,
    private readonly endsWithConnection = false,
  ) {
    void this.open();
  }

  get ready(): boolean {
    return this.socket !== undefined;
  }

  write(data: Buffer): void {
    if (this.lost) {
      this.lost = false;
      this.output.block(true);
      void this.open().then(() => {
        this.socket?.write(data);
        this.output.block(false);
      });
    } else if (!this.socket!.write(data)) {
      this.output.block(true);
      this.socket!.once('drain', () => this.output.block(false));
    }
  }

  disconnect(): void {
    this.socket?.destroy();
  }

  kill(): void {
    this.over = true;
    this.socket?.destroy();
  }

  private async open(): Promise<void> {
    try {
      const socket = await this.dialled();
      if (this.over) return void socket.destroy();
      this.socket = socket;
      void this.read(socket);
    } catch (error) {
      this.output.end(`Unable to connect to specified port: ${(error as Error).message}`);
    }
  }

  private async read(socket: Socket): Promise<void> {
    try {
      for await (const data of socket as AsyncIterable<Buffer>) await this.output.send(data);
    } catch {
      // It was closed.
    }
    socket.destroy();
    if (this.endsWithConnection) return this.output.done();
    // What comes next is for another one.
    this.lost = true;
    this.output.block(false);
  }
}
