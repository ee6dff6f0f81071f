import { SmuxCommand, smuxData, SmuxError, smuxFrame, SmuxReader } from './smux-frame';
import { PortConnection, type PortPipe } from './port-connection';

/** Agents before 3.1.1511.0 end a session from which nothing has come for 30 s, ms. */
const KEEP_ALIVE_MS = 10_000;
/** The streams of a client have odd numbers. */
const FIRST_STREAM = 3;
const STREAM_STEP = 2;
/** What connections have not read, bytes: with more, nothing is taken from the agent. */
const MAX_UNREAD_BYTES = 4 * 1024 * 1024;
/** All connections wait for one that reads nothing; after so long it is closed, ms. */
const STALL_TIMEOUT_MS = 30_000;

/** Many connections over one pipe: the client of smux, version 1, whose streams have no windows of their own. */
export class SmuxClient {
  private readonly reader = new SmuxReader();
  private readonly connections = new Map<number, PortConnection>();
  private nextStream = FIRST_STREAM;
  private stalled?: { timer: NodeJS.Timeout; unread: number };
  private readonly keepAlive: NodeJS.Timeout;
  private closed?: Error;

  /** @param stallTimeout ms */
  constructor(
    private readonly pipe: PortPipe,
    private readonly stallTimeout = STALL_TIMEOUT_MS,
  ) {
    this.keepAlive = setInterval(() => pipe.write(smuxFrame(SmuxCommand.Nothing, 0)), KEEP_ALIVE_MS);
    this.keepAlive.unref();
  }

  connect(): PortConnection {
    const stream = this.nextStream;
    this.nextStream += STREAM_STEP;
    this.pipe.write(smuxFrame(SmuxCommand.Open, stream));
    let ended = false;
    const end = () => {
      if (!ended) this.pipe.write(smuxFrame(SmuxCommand.End, stream));
      ended = true;
    };
    const connection = new PortConnection({
      write: (data, onSent) => {
        const frames = [...smuxData(stream, data)];
        frames.forEach((frame, at) => this.pipe.write(frame, at === frames.length - 1 ? onSent : undefined));
      },
      onRead: () => this.relax(),
      end,
      destroyed: () => {
        if (!this.connections.delete(stream)) return;
        end();
        this.relax();
      },
    });
    this.connections.set(stream, connection);
    if (this.closed) connection.destroy(this.closed);
    return connection;
  }

  /** @throws SmuxError */
  receive(bytes: Buffer): void {
    for (const { command, stream, data } of this.reader.read(bytes)) {
      if (command === SmuxCommand.Open) throw new SmuxError('the instance opens a connection to this machine');
      // What was closed here meanwhile has none.
      const connection = this.connections.get(stream);
      if (command === SmuxCommand.End) connection?.receiveEnd();
      else if (command === SmuxCommand.Data && connection) {
        connection.receive(data);
        this.restrain();
      }
    }
  }

  /** Closes all connections. */
  close(why: Error): void {
    this.closed ??= why;
    clearInterval(this.keepAlive);
    clearTimeout(this.stalled?.timer);
    const connections = [...this.connections.values()];
    this.connections.clear();
    for (const connection of connections) connection.destroy(why);
  }

  private get unread(): number {
    let sum = 0;
    for (const { unread } of this.connections.values()) sum += unread;
    return sum;
  }

  private restrain(): void {
    if (this.stalled || this.unread <= MAX_UNREAD_BYTES) return;
    this.pipe.hold(true);
    this.awaitProgress();
  }

  private relax(): void {
    if (!this.stalled || this.unread > MAX_UNREAD_BYTES / 2) return;
    clearTimeout(this.stalled.timer);
    this.stalled = undefined;
    this.pipe.hold(false);
  }

  private awaitProgress(): void {
    const timer = setTimeout(() => {
      if (this.unread >= this.stalled!.unread) {
        const [slowest] = [...this.connections.values()].sort((one, other) => other.unread - one.unread);
        slowest.destroy(new Error('what it was sent was not read'));
      }
      if (this.stalled) this.awaitProgress();
    }, this.stallTimeout);
    this.stalled = { timer, unread: this.unread };
  }
}
