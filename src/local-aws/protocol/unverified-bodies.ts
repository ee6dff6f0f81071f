import { AwsError } from './aws-error';

const MIB = 1024 * 1024;

/** Limits of bodies whose senders are not known yet. */
export interface BodyLimits {
  /** Bytes of one body. */
  largest: number;
  /** Bytes of all that are in memory at once. */
  together: number;
  /** How long one may keep local AWS waiting for its bytes, ms, and how many bytes earn another second. */
  patienceMs: number;
  bytesPerSecond: number;
}

const LIMITS: BodyLimits = {
  largest: 64 * MIB,
  together: 256 * MIB,
  patienceMs: 30_000,
  bytesPerSecond: MIB / 4,
};

/** One body that is received within limits. */
export interface LimitedBody {
  /** Waits for the next bytes. @throws AwsError where they take too long, or others need the memory. */
  next<T>(coming: Promise<T>): Promise<T>;
  /** Counts bytes that have come. @throws AwsError where there are too many. */
  take(bytes: number): void;
  /** All of it has come. */
  complete(): void;
  /** The body is no longer in memory. */
  release(): void;
}

/**
 * The bodies that come before it is known who sends them: some signatures are over a body whose hash no header has, and a
 * form holds its own. Any user of this machine can send one, so the memory that they hold is limited, and for how long.
 */
export class UnverifiedBodies {
  private readonly limits: BodyLimits;
  private readonly receiving = new Set<Body>();
  private held = 0;

  constructor(limits: Partial<BodyLimits> = {}) {
    this.limits = { ...LIMITS, ...limits };
  }

  open(): LimitedBody {
    const body = new Body(this.limits, (bytes) => this.reserve(body, bytes));
    this.receiving.add(body);
    return {
      next: (coming) => body.next(coming),
      take: (bytes) => body.take(bytes),
      complete: () => void this.receiving.delete(body),
      release: () => this.release(body),
    };
  }

  /** Makes room for a body: the largest of those that are incomplete gives way to a smaller one. */
  private reserve(body: Body, bytes: number): void {
    while (this.held + bytes > this.limits.together) {
      const [largest] = [...this.receiving].sort((a, b) => b.bytes - a.bytes);
      if (!largest || largest.bytes <= body.bytes + bytes) throw tooMany();
      this.release(largest);
      largest.drop(tooMany());
    }
    this.held += bytes;
  }

  private release(body: Body): void {
    this.receiving.delete(body);
    this.held -= body.bytes;
    body.bytes = 0;
  }
}

class Body {
  bytes = 0;
  private waitedMs = 0;
  private dropped: AwsError | undefined;
  private stopWaiting: ((error: AwsError) => void) | undefined;

  constructor(
    private readonly limits: BodyLimits,
    private readonly reserve: (bytes: number) => void,
  ) {}

  async next<T>(coming: Promise<T>): Promise<T> {
    const { patienceMs, bytesPerSecond } = this.limits;
    // Only the sender's time counts: what paces the link is waited for elsewhere.
    const began = performance.now();
    let timer: NodeJS.Timeout | undefined;
    const stopped = new Promise<never>((_, reject) => {
      if (this.dropped) return reject(this.dropped);
      this.stopWaiting = reject;
      const leftMs = patienceMs + (this.bytes / bytesPerSecond) * 1000 - this.waitedMs;
      timer = setTimeout(() => reject(tooSlow()), Math.max(0, leftMs));
    });
    try {
      return await Promise.race([coming, stopped]);
    } finally {
      clearTimeout(timer);
      this.stopWaiting = undefined;
      this.waitedMs += performance.now() - began;
    }
  }

  take(bytes: number): void {
    if (this.dropped) throw this.dropped;
    const { largest } = this.limits;
    if (this.bytes + bytes > largest)
      throw new AwsError('EntityTooLarge', `An unverified request may have ${largest} bytes at most.`, 413);
    this.reserve(bytes);
    this.bytes += bytes;
  }

  drop(error: AwsError): void {
    this.dropped = error;
    this.stopWaiting?.(error);
  }
}

function tooMany(): AwsError {
  return new AwsError('SlowDown', 'Too many unverified requests are on their way. Try again.', 503);
}

function tooSlow(): AwsError {
  return new AwsError('RequestTimeout', 'The body of this unverified request comes too slowly. Try again.', 400);
}
