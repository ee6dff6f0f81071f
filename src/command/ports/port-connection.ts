import { Duplex } from 'node:stream';
import { ByteQueue } from './byte-queue';

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
  /** What came while the reader wanted nothing. */
  private readonly waiting = new ByteQueue();
  private wanted = false;
  private ended = false;

  constructor(private readonly events: ConnectionEvents) {
    super({ readableHighWaterMark: BUFFER_BYTES, writableHighWaterMark: BUFFER_BYTES });
  }

  /** What came and was not read, bytes. */
  get unread(): number {
    return this.readableLength + this.waiting.length;
  }

  receive(data: Buffer): void {
    if (this.ended || this.destroyed) return;
    if (this.wanted && !this.waiting.length) this.give(data);
    else this.waiting.append(data);
    this.answer?.refresh();
  }

  /** The server, or the agent, closed it. */
  receiveEnd(): void {
    this.ended = true;
    this.deliver();
  }

  override _read(): void {
    this.wanted = true;
    this.deliver();
    // It is called before what is read has left the buffer.
    process.nextTick(() => this.events.onRead());
  }

  private deliver(): void {
    if (!this.wanted || this.destroyed) return;
    const data = this.waiting.take() ?? (this.ended ? null : undefined);
    if (data !== undefined) this.give(data);
  }

  private give(data: Buffer | null): void {
    this.wanted = false;
    this.push(data);
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
