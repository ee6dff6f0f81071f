import { frameOf, readFrame, type Frame } from './frame';

/** Between two looks for what was not acknowledged, and how long that may take, ms. */
const RESEND_CHECK_MS = 100;
const MIN_RESEND_MS = 200;
const MAX_RESEND_MS = 1_000;
/** More that is not acknowledged is not read from the program. */
const MAX_UNACKNOWLEDGED_FRAMES = 4_000;

interface Sent {
  frame: Buffer;
  /** ms of `performance.now()`; 0: not yet. */
  at: number;
}

/** The agent's end of a data channel: what is sent is kept until it is acknowledged, what comes is put in order. */
export class AgentChannel {
  private next = 0;
  private expected = 0;
  private readonly sent = new Map<number, Sent>();
  private readonly early = new Map<number, Frame>();
  private wire?: (frame: Buffer) => void;
  private paused = false;
  private roundTrip = 100;
  private readonly timer = setInterval(() => this.retransmit(), RESEND_CHECK_MS);
  private waiting: (() => void)[] = [];
  /** Input that came while what takes it was busy, by its sequence number. */
  private readonly blocked = new Map<number, Frame>();
  private isBlocked = false;

  /** @param ready whether such a payload is taken now; one that is not is not acknowledged, and comes again. */
  constructor(
    private readonly take: (payloadType: number, payload: Buffer) => void,
    private readonly ready: (payloadType: number) => boolean,
  ) {
    this.timer.unref();
  }

  /** A client is there: whatever it has not acknowledged goes again. */
  attach(wire: (frame: Buffer) => void): void {
    this.wire = wire;
    this.paused = false;
    for (const each of this.sent.values()) this.transmit(each);
  }

  detach(): void {
    this.wire = undefined;
  }

  send(payloadType: number, payload: Buffer): void {
    const sequence = this.next++;
    const flags = sequence === 0 ? 1 : 0;
    const each = { frame: frameOf({ type: 'output_stream_data', sequence, flags, payloadType, payload }), at: 0 };
    this.sent.set(sequence, each);
    this.transmit(each);
  }

  /** Resolves when no more than a window is on its way. */
  async waitForWindow(): Promise<void> {
    while (this.sent.size > MAX_UNACKNOWLEDGED_FRAMES) await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  /** Resolves when everything was acknowledged. */
  async drained(): Promise<void> {
    while (this.sent.size) await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  /** What the client sent. */
  receive(data: Buffer): void {
    const frame = readFrame(data);
    if (!frame) return;
    if (frame.type === 'pause_publication') {
      this.paused = true;
      return;
    }
    this.paused = false;
    if (frame.type === 'acknowledge') this.acknowledged(frame);
    else if (frame.type === 'input_stream_data') this.input(frame);
  }

  /** While what takes the input is busy, the agent takes none, and acknowledges none. */
  block(isBlocked: boolean): void {
    this.isBlocked = isBlocked;
    for (const [sequence, frame] of this.blocked) {
      if (this.isBlocked) return;
      this.blocked.delete(sequence);
      this.input(frame);
    }
  }

  close(): void {
    clearInterval(this.timer);
    this.wire = undefined;
    this.sent.clear();
    this.wake();
  }

  private acknowledged({ payload }: Frame): void {
    let sequence: number;
    try {
      sequence = Number((JSON.parse(payload.toString()) as Record<string, unknown>).AcknowledgedMessageSequenceNumber);
    } catch {
      return;
    }
    const each = this.sent.get(sequence);
    if (!each) return;
    this.roundTrip += (performance.now() - each.at - this.roundTrip) / 8;
    this.sent.delete(sequence);
    this.wake();
  }

  private input(frame: Frame): void {
    // As agents do since June 2023: what was taken before is acknowledged again.
    if (frame.sequence < this.expected) return this.acknowledge(frame);
    if (this.isBlocked) {
      this.blocked.set(frame.sequence, frame);
      return;
    }
    if (!this.ready(frame.payloadType)) return;
    this.acknowledge(frame);
    this.early.set(frame.sequence, frame);
    for (let each = this.early.get(this.expected); each; each = this.early.get(this.expected)) {
      this.early.delete(this.expected++);
      this.take(each.payloadType, each.payload);
    }
  }

  private acknowledge({ type, id, sequence }: Frame): void {
    const content = {
      AcknowledgedMessageType: type,
      AcknowledgedMessageId: id,
      AcknowledgedMessageSequenceNumber: sequence,
      IsSequentialMessage: true,
    };
    this.wire?.(frameOf({ type: 'acknowledge', flags: 3, payload: Buffer.from(JSON.stringify(content)) }));
  }

  private retransmit(): void {
    const due = performance.now() - Math.min(MAX_RESEND_MS, Math.max(MIN_RESEND_MS, this.roundTrip * 2));
    for (const each of this.sent.values()) if (each.at < due) this.transmit(each);
  }

  private transmit(each: Sent): void {
    if (this.paused || !this.wire) return;
    each.at = performance.now();
    this.wire(each.frame);
  }

  private wake(): void {
    const waiting = this.waiting;
    this.waiting = [];
    for (const resolve of waiting) resolve();
  }
}
