import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

/** One way to AWS: how far, and how much goes over it. All its connections share it. */
export interface LinkProfile {
  /** ms. */
  roundTrip?: number;
  /** Round trips that a new connection costs before its first request: one for TCP, one for TLS 1.3. */
  connect?: number;
  /** Bytes a second toward AWS, and back; absent: as many as this machine carries. */
  up?: number;
  down?: number;
}

/** How far away local AWS seems to be. Nothing is delayed where nothing is said. */
export interface NetworkProfile {
  /** Whoever calls from outside. */
  client?: LinkProfile;
  /** What an instance's processes send: presigned URLs, forms, and what its role signs. */
  instance?: LinkProfile;
  /** From a command being sent to its script's start, ms. */
  pickUp?: number;
}

/** Decides how much of a body is received, and how long it is waited for. */
export interface BodyReader {
  next<T>(coming: Promise<T>): Promise<T>;
  take(bytes: number): void;
}

export type LinkName = 'client' | 'instance';

const MEGABIT_BYTES = 1_000_000 / 8;

export const NETWORK_PROFILES: Record<string, NetworkProfile> = {
  /** A laptop on a home line; an instance beside its bucket. */
  wan: {
    client: { roundTrip: 60, connect: 2, up: 50 * MEGABIT_BYTES, down: 200 * MEGABIT_BYTES },
    instance: { roundTrip: 5, connect: 2, up: 1000 * MEGABIT_BYTES, down: 1000 * MEGABIT_BYTES },
    pickUp: 300,
  },
};

/** What went over a link since it was made. Bytes are those of HTTP, heads included, also of what was cut off. */
export interface LinkTraffic {
  connections: number;
  requests: number;
  up: number;
  down: number;
}

/** A wire is never without work for lack of attention: so much is taken from its sender ahead of time, ms. */
const AHEAD_MS = 10;
/** A body goes in pieces, so that what shares the wire gets its turn: so long each, ms, within these bounds, bytes. */
const TURN_MS = 2;
const MIN_PIECE_BYTES = 16 * 1024;
const MAX_PIECE_BYTES = 256 * 1024;

/** One direction of a link: carries pieces in the order in which they come, each after the one before. */
export class Wire {
  bytes = 0;
  readonly piece: number;
  /** When all that was given to it has been carried. */
  private free = 0;

  /** @param rate bytes a second; without one it takes no time. */
  constructor(private readonly rate = Infinity) {
    this.piece = Math.min(MAX_PIECE_BYTES, Math.max(MIN_PIECE_BYTES, Math.floor((rate * TURN_MS) / 1000)));
  }

  /** Gives it a piece and waits until it can soon take the next. @returns when this one will have been carried. */
  async carry(bytes: number): Promise<number> {
    this.bytes += bytes;
    this.free = Math.max(performance.now(), this.free) + (bytes / this.rate) * 1000;
    const carried = this.free;
    await until(carried - AHEAD_MS);
    return carried;
  }
}

export class Link {
  readonly up: Wire;
  readonly down: Wire;
  private readonly known = new WeakSet<Socket>();
  private connections = 0;
  private requests = 0;

  constructor(private readonly profile: LinkProfile = {}) {
    this.up = new Wire(profile.up);
    this.down = new Wire(profile.down);
  }

  get traffic(): LinkTraffic {
    return {
      connections: this.connections,
      requests: this.requests,
      up: this.up.bytes,
      down: this.down.bytes,
    };
  }

  /** Waits until the connection of a request is set up: from then on the request is on the wire. */
  async connected(socket: Socket, opened: number): Promise<void> {
    this.requests++;
    if (this.known.has(socket)) return;
    this.known.add(socket);
    this.connections++;
    await until(opened + (this.profile.connect ?? 0) * (this.profile.roundTrip ?? 0));
  }

  /** Waits as long as something takes to the other end and back. */
  async thereAndBack(): Promise<void> {
    await until(performance.now() + (this.profile.roundTrip ?? 0));
  }

  /**
   * Takes a request's body off its socket as fast as the wire carries it. Ends when its last byte has arrived.
   * @param limits of the body; they throw where it exceeds them, and the connection stays for an answer.
   */
  async receive(request: IncomingMessage, limits?: BodyReader): Promise<{ body: Buffer; size: number }> {
    const parts: Buffer[] = [];
    let size = requestHead(request);
    let carried = await this.up.carry(size);
    const incoming = request.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<Buffer>;
    for (;;) {
      const coming = incoming.next();
      const { done, value: part } = await (limits ? limits.next(coming) : coming);
      if (done) break;
      limits?.take(part.length);
      parts.push(part);
      size += part.length;
      for (const piece of pieces(part, this.up.piece)) carried = await this.up.carry(piece.length);
    }
    await until(carried + this.half);
    return { body: Buffer.concat(parts), size };
  }

  /**
   * Sends an answer as fast as the wire carries it.
   * @returns its last piece, to be sent by the caller: it has been carried when this returns.
   */
  async send(
    head: number,
    body: AsyncIterable<Buffer> | Iterable<Buffer>,
    write: (piece: Buffer) => Promise<void>,
  ): Promise<Buffer> {
    await until(performance.now() + this.half);
    let carried = await this.down.carry(head);
    let last: Buffer = Buffer.alloc(0);
    for await (const part of body) {
      for (const piece of pieces(part, this.down.piece)) {
        if (last.length) await write(last);
        carried = await this.down.carry(piece.length);
        last = piece;
      }
    }
    await until(carried);
    return last;
  }

  /** One direction of a connection that stays open. @param deliver called for each thing when it has arrived. */
  lane<T>(direction: 'up' | 'down', deliver: (thing: T) => void): Lane<T> {
    return new Lane(this[direction], this.half, deliver);
  }

  private get half(): number {
    return (this.profile.roundTrip ?? 0) / 2;
  }
}

/** What arrives in order, each thing half a round trip after the wire has carried it. */
export class Lane<T> {
  private carried: Promise<number> = Promise.resolve(0);
  private arrived: Promise<void> = Promise.resolve();

  constructor(
    private readonly wire: Wire,
    private readonly half: number,
    private readonly deliver: (thing: T) => void,
  ) {}

  send(thing: T, bytes: number): void {
    const carried = (this.carried = this.carried.then(() => this.wire.carry(bytes)));
    const sent = performance.now();
    this.arrived = this.arrived.then(async () => {
      await until(Math.max(await carried, sent) + this.half);
      this.deliver(thing);
    });
  }
}

/** Both links, and whose request goes over which. */
export class Network {
  readonly client: Link;
  readonly instance: Link;

  constructor(profile: NetworkProfile) {
    this.client = new Link(profile.client);
    this.instance = new Link(profile.instance);
  }

  get traffic(): Record<LinkName, LinkTraffic> {
    return { client: this.client.traffic, instance: this.instance.traffic };
  }
}

/** @param isRole whether an access key belongs to an instance's role. */
export function linkOf(
  { method, url, headers }: Pick<IncomingMessage, 'method' | 'url' | 'headers'>,
  isRole: (accessKeyId: string) => boolean,
): LinkName {
  const query = new URLSearchParams(url?.split('?')[1]);
  if (query.has('X-Amz-Signature') || query.has('AWSAccessKeyId')) return 'instance';
  const key = /Credential=([^/,\s]+)/.exec(headers.authorization ?? '')?.[1];
  if (key !== undefined) return isRole(key) ? 'instance' : 'client';
  const form = method === 'POST' && /^multipart\/form-data/.test(headers['content-type'] ?? '');
  return form ? 'instance' : 'client';
}

function* pieces(data: Buffer, size: number): Iterable<Buffer> {
  for (let from = 0; from < data.length; from += size) yield data.subarray(from, from + size);
}

function requestHead({ method = '', url = '', rawHeaders }: IncomingMessage): number {
  return `${method} ${url} HTTP/1.1\r\n\r\n`.length + headSize(rawHeaders);
}

/** Bytes of headers: `name: value` and a line's end for each pair. */
export function headSize(raw: readonly string[]): number {
  return raw.reduce((sum, text) => sum + text.length + 2, 0);
}

/** Waits for a moment of `performance.now()`; never for less. */
export async function until(moment: number): Promise<void> {
  for (let left = moment - performance.now(); left > 0; left = moment - performance.now()) {
    // A timer is a millisecond off, which is much beside a round trip of five: the rest is waited out in turns.
    await new Promise<void>((resolve) => (left > 1 ? setTimeout(resolve, left - 1) : setImmediate(resolve)));
  }
}
