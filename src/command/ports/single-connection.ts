import { PortConnection, type PortPipe } from './port-connection';

/** A session that carries the bytes of one connection as they are. The agent connects to the port by itself. */
export class SingleConnection {
  private readonly connection: PortConnection;
  private onClosed: () => void = () => undefined;

  constructor(private readonly pipe: PortPipe) {
    this.connection = new PortConnection({
      write: (data, onSent) => pipe.write(data, onSent),
      onRead: () => pipe.hold(false),
      end: () => this.onClosed(),
      destroyed: () => this.onClosed(),
    });
    this.connection.on('error', () => undefined);
  }

  /** @param onClosed the connection is closed on this side. */
  connect(onClosed: () => void): PortConnection {
    this.onClosed = onClosed;
    return this.connection;
  }

  receive(data: Buffer): void {
    this.connection.receive(data);
    if (this.connection.unread >= this.connection.readableHighWaterMark) this.pipe.hold(true);
  }

  /** The server closed the connection: what has come is still read. */
  receiveEnd(): void {
    this.connection.receiveEnd();
  }

  close(why: Error): void {
    this.connection.destroy(why);
  }
}
