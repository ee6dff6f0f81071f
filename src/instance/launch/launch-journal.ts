import { z } from 'zod';
import type { StoreKeys } from '../../store/keys';
import type { Store } from '../../store/store';
import { UnusableObject } from '../../store/objects/unusable';

/** Far more than 20 types in 20 subnets on two markets take, bytes. */
const MAX_JOURNAL_BYTES = 512 * 1024;
const MAX_LAUNCH_OPTIONS = 2_000;
/** Instances of one launch. */
const MAX_COUNT = 1_000;

const word = z.string().regex(/^[A-Za-z0-9.-]{1,80}$/);
const ms = z.number().int().nonnegative();
const tried = z.object({
  type: word,
  subnet: word,
  zone: word,
  market: z.enum(['spot', 'on-demand']),
  placement: z.literal('cluster').optional(),
});

const id = z.string().regex(/^i-[0-9a-f]{8,17}$/);
const ids = z.array(id).max(MAX_COUNT);
const progress = {
  generation: z.string().regex(/^[0-9a-f]{16}$/),
  at: ms,
  launchOptions: z.array(tried).max(MAX_LAUNCH_OPTIONS),
  n: z.number().int().nonnegative(),
  refused: z.array(word).max(MAX_LAUNCH_OPTIONS),
};

const current = z.object({ v: z.literal(2), ...progress, kept: ids, instances: ids });
/** As older clients wrote it, which launched one instance. */
const first = z
  .object({ v: z.literal(1), ...progress, instance: id.nullable() })
  .transform(({ instance, ...rest }): z.infer<typeof current> => {
    return { ...rest, v: 2, kept: [], instances: instance === null ? [] : [instance] };
  });
const schema = z
  .union([current, first])
  .refine(({ n, launchOptions: options, refused }) => n <= options.length && refused.length === n);

/**
 * How far a launch is: docs/reference/formats.md, "Launch". It is not signed, so it has nothing that becomes a parameter
 * of a launch: each command computes the run, the owner, the price, the deadline and the count itself. `kept` are the
 * instances that were there before, whose set this launch completes; `instances`, once all are there, are these and the
 * launched ones.
 */
export type LaunchState = z.infer<typeof schema>;

export interface StoredLaunch {
  /** null: it is not one that we can read. */
  state: LaunchState | null;
  etag: string;
  /** How long ago it was written, ms, by S3's clock alone. */
  age: number;
}

/**
 * @returns null for bytes that are no such object, or one of a later version. It is written over: anybody may have
 * written it who writes to the bucket, and it must be in the way of no launch and no remote-down. What was launched is
 * found by its tags.
 */
export function parseLaunch(bytes: Buffer): LaunchState | null {
  try {
    return schema.safeParse(JSON.parse(bytes.toString('utf8'))).data ?? null;
  } catch {
    return null;
  }
}

/** The `launch/<key>` objects of a project's store. */
export class LaunchJournal {
  readonly key: string;

  constructor(
    private readonly store: Store,
    keys: StoreKeys,
    specHash: string,
  ) {
    this.key = keys.launch(specHash);
  }

  async read(signal?: AbortSignal): Promise<StoredLaunch | null> {
    const stored = await this.store.getWithETag(this.key, MAX_JOURNAL_BYTES, { signal }).catch((error: unknown) => {
      // As damaged as one that is no JSON: it is written over, and is in the way of no launch and no remote-down.
      if (error instanceof UnusableObject && error.etag !== null) return { unusable: error.etag };
      throw error;
    });
    if (!stored) return null;
    if ('unusable' in stored) return { state: null, etag: stored.unusable, age: 0 };
    const { bytes, etag, modified, answered } = stored;
    return { state: parseLaunch(bytes), etag, age: Math.max(0, answered - modified) };
  }

  /**
   * @param etag of what it is to replace; null: there is to be none.
   * @returns false if another client has written it in between.
   */
  async write(state: LaunchState, etag: string | null): Promise<string | null> {
    return this.store.compareAndSwap(this.key, Buffer.from(JSON.stringify(state)), etag);
  }
}

/** One for each option of each generation. */
export function tokenOf({ generation, n }: Pick<LaunchState, 'generation' | 'n'>): string {
  return `nx-ec2-${generation}-${n}`;
}

/** Which launch a client token is of; null: of none of ours. */
export function generationOf(token: string | null): string | null {
  return /^nx-ec2-([0-9a-f]{16})-\d+$/.exec(token ?? '')?.[1] ?? null;
}
