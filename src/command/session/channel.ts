import { sanitizeForTerminal } from '../../report/terminal-text';
import { decodeFrame, encodeFrame, newFrame, type Frame, type FrameError } from './frame';

/** Bytes of input in a frame. */
const CHUNK_BYTES = 1024;
/** Frames on their way at once. */
const MAX_UNACKNOWLEDGED_FRAMES = 256;
/** Frames that wait for one before them, and the bytes of their payloads: what exceeds that comes again. */
const MAX_EARLY_FRAMES = 10_000;
const EARLY_BYTES = 16 * 1024 * 1024;
/** Between two looks for what was not acknowledged, and how long an acknowledgement may take, ms. */
const RESEND_CHECK_MS = 100;
const MIN_RESEND_MS = 200;
const MAX_RESEND_MS = 1_000;
/**
 * An agent older than June 2023 does not acknowledge again what it has taken: a frame that was sent so often, while a
 * later one was acknowledged, was taken and its acknowledgement lost. Newer agents acknowledge each copy.
 */
const MAX_SENDS = 8;
/** Frames in a row that are none. */
const MAX_INVALID_FRAMES = 100;

interface Waiting {
  sequence: number;
  data: Buffer;
  /** ms of `performance.now()`; 0: not yet. */
  sentAt: number;
  sends: number;
}

export interface ChannelEvents {
  /** Called for each payload once, in order. */
  onPayload(type: number, payload: Buffer): void;
  /** The other end says that the session is over, and perhaps why. */
  onClosed(why: string): void;
  onGarbage(error: FrameError): void;
}

/**
 * A session's stream above its connections: what comes is acknowledged, put in order and handed on once; what goes is
 * kept until it is acknowledged, and goes again over the next connection.
 */
export class Channel {
  private transmit?: (data: Buffer) => void;
  private paused = false;
  private held = false;
  private nextSequence = 0;
  private expected = 0;
  private readonly early = new Map<number, Frame>();
  private earlyBytes = 0;
  private readonly queue: { type: number; payload: Buffer; onSent?: () => void }[] = [];
  private readonly unacknowledged = new Map<number, Waiting>();
  private roundTrip = 100;
  private bad = 0;
  private readonly timer = setInterval(() => this.sendAgain(), RESEND_CHECK_MS);

  constructor(private readonly events: ChannelEvents) {
    this.timer.unref();
  }

  /** There is a connection: what was not acknowledged over the one before goes first. */
  attach(transmit: (data: Buffer) => void): void {
    this.transmit = transmit;
    this.paused = false;
    for (const each of this.unacknowledged.values()) {
      each.sends = 0;
      this.sendOne(each);
    }
    this.sendQueued();
  }

  detach(): void {
    this.transmit = undefined;
  }

  close(): void {
    clearInterval(this.timer);
    this.detach();
  }

  /** @param onSent called when all of it has left the queue: who sends much waits for it. */
  send(type: number, payload: Buffer, onSent?: () => void): void {
    for (let from = 0; from < payload.length; from += CHUNK_BYTES) {
      const isLast = from + CHUNK_BYTES >= payload.length;
      this.queue.push({
        type,
        payload: payload.subarray(from, from + CHUNK_BYTES),
        ...(isLast ? { onSent } : {}),
      });
    }
    this.sendQueued();
  }

  /** While it is held, no payload is handed on: as much as `early` takes waits here, the rest at the other end. */
  hold(held: boolean): void {
    this.held = held;
    this.deliver();
  }

  receive(data: Buffer): void {
    let frame: Frame;
    try {
      frame = decodeFrame(data);
    } catch (error) {
      // Not acknowledged: it comes again, and as it was sent this time.
      if (++this.bad >= MAX_INVALID_FRAMES) this.events.onGarbage(error as FrameError);
      return;
    }
    this.bad = 0;
    if (frame.type === 'output_stream_data') this.output(frame);
    else if (frame.type === 'acknowledge') this.acknowledged(frame);
    else if (frame.type === 'channel_closed') this.events.onClosed(textOf(parse(frame.payload)?.Output));
    else if (frame.type === 'pause_publication') this.paused = true;
    else if (frame.type === 'start_publication') {
      this.paused = false;
      this.sendQueued();
    }
  }

  private output(frame: Frame): void {
    const isFull = this.early.size >= MAX_EARLY_FRAMES || this.earlyBytes + frame.payload.length > EARLY_BYTES;
    if (frame.sequence > this.expected && isFull) return;
    this.acknowledge(frame);
    if (frame.sequence < this.expected || this.early.has(frame.sequence)) return;
    // A copy: the payload is a part of what was read at once, which is up to 64 KiB.
    const isEarly = frame.sequence > this.expected;
    this.early.set(frame.sequence, isEarly ? { ...frame, payload: Buffer.from(frame.payload) } : frame);
    this.earlyBytes += frame.payload.length;
    this.deliver();
  }

  private deliver(): void {
    for (let next = this.next(); next; next = this.next()) {
      this.early.delete(this.expected++);
      this.earlyBytes -= next.payload.length;
      this.events.onPayload(next.payloadType, next.payload);
    }
  }

  private next(): Frame | undefined {
    return this.held ? undefined : this.early.get(this.expected);
  }

  private acknowledge(frame: Frame): void {
    const content = {
      AcknowledgedMessageType: frame.type,
      AcknowledgedMessageId: frame.id,
      AcknowledgedMessageSequenceNumber: frame.sequence,
      IsSequentialMessage: true,
    };
    this.transmit?.(encodeFrame(newFrame('acknowledge', 0, Buffer.from(JSON.stringify(content)), { flags: 3 })));
  }

  private acknowledged(frame: Frame): void {
    const sequence = parse(frame.payload)?.AcknowledgedMessageSequenceNumber as number;
    const waiting = this.unacknowledged.get(sequence);
    if (!waiting) return;
    this.unacknowledged.delete(sequence);
    this.roundTrip += (performance.now() - waiting.sentAt - this.roundTrip) / 8;
    for (const each of this.unacknowledged.values())
      if (each.sequence < sequence && each.sends >= MAX_SENDS) this.unacknowledged.delete(each.sequence);
    this.sendQueued();
  }

  private sendQueued(): void {
    while (this.transmit && !this.paused && this.queue.length && this.unacknowledged.size < MAX_UNACKNOWLEDGED_FRAMES) {
      const { type, payload, onSent } = this.queue.shift()!;
      const sequence = this.nextSequence++;
      const frame = newFrame('input_stream_data', type, payload, { sequence });
      const waiting = { sequence, data: encodeFrame(frame), sentAt: 0, sends: 0 };
      this.unacknowledged.set(sequence, waiting);
      this.sendOne(waiting);
      if (onSent) process.nextTick(onSent);
    }
  }

  private sendAgain(): void {
    const due = performance.now() - Math.min(MAX_RESEND_MS, Math.max(MIN_RESEND_MS, this.roundTrip * 2));
    for (const each of this.unacknowledged.values()) if (each.sentAt < due) this.sendOne(each);
  }

  private sendOne(waiting: Waiting): void {
    if (!this.transmit || this.paused) return;
    waiting.sentAt = performance.now();
    waiting.sends++;
    this.transmit(waiting.data);
  }
}

/** What the other end says, to be shown. */
function textOf(value: unknown): string {
  return typeof value === 'string' ? sanitizeForTerminal(value) : '';
}

function parse(payload: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(payload.toString());
    return value && typeof value === 'object' ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
