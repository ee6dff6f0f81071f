import { Duplex } from 'node:stream';

/** What carries the bytes of a port session. */
export interface PortPipe {
  /** @param onSent called when they have left this machine's queue. */
  write(data: Buffer, onSent?: () => void): void;
  /** Stops and restarts what comes from the instance. */
  hold(held: boolean): void;
}

/** How a connection reaches the other end. */
export interface ConnectionEvents {
  write(data: Buffer, onSent: () => void): void;
  /** Its reader wants more. */
  onRead(): void;
  /** Tells the agent to close the connection. */
  end(): void;
  destroyed(): void;
}

/**
 * The agent has no half-closed connections: when it is told of an end it closes the connection to the server, and the
 * answer is lost. So it is told when nothing has come from the server for so long, ms.
 */
const ANSWER_TIMEOUT_MS = 5_000;
const BUFFER_BYTES = 64 * 1024;

/** One connection to the port of an instance. */
export class PortConnection extends Duplex {
  private answer?: NodeJS.Timeout;

  constructor(private readonly events: ConnectionEvents) {
    super({ readableHighWaterMark: BUFFER_BYTES, writableHighWaterMark: BUFFER_BYTES });
  }

  receive(data: Buffer): void {
    if (this.readableEnded || this.destroyed) return;
    this.push(data);
    this.answer?.refresh();
  }

  /** The server, or the agent, closed it. */
  receiveEnd(): void {
    if (!this.destroyed) this.push(null);
  }

  override _read(): void {
    // It is called before what is read has left the buffer.
    process.nextTick(() => this.events.onRead());
  }

  override _write(data: Buffer, _encoding: string, done: () => void): void {
    this.events.write(data, done);
  }

  override _final(done: () => void): void {
    this.answer = setTimeout(() => this.events.end(), ANSWER_TIMEOUT_MS);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearTimeout(this.answer);
    this.events.destroyed();
    done(error);
  }
}
