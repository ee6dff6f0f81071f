import { AwsError } from './aws-error';

const MIB = 1024 * 1024;

/** Counts the bytes of one body. */
export interface CountedBody {
  /** @throws AwsError where there are too many. */
  take(bytes: number): void;
  /** The body is no longer in memory. */
  release(): void;
}

/**
 * The bodies that come before it is known who sends them: the signatures of most services are over the body, and a
 * form holds its own. Any user of this machine can send one, so what they hold of the memory is limited.
 */
export class UnverifiedBodies {
  private held = 0;

  /** @param largest bytes of one body. @param together bytes of all that are in memory at once. */
  constructor(
    private readonly largest = 64 * MIB,
    private readonly together = 256 * MIB,
  ) {}

  open(): CountedBody {
    let own = 0;
    return {
      take: (bytes) => {
        if (own + bytes > this.largest)
          throw new AwsError('EntityTooLarge', `An unverified request may have ${this.largest} bytes at most.`, 413);
        if (this.held + bytes > this.together)
          throw new AwsError('SlowDown', 'Too many unverified requests are on their way. Try again.', 503);
        own += bytes;
        this.held += bytes;
      },
      release: () => {
        this.held -= own;
        own = 0;
      },
    };
  }
}
