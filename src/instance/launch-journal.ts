import { z } from 'zod';
import { Problem } from '../report/problem';
import { text } from '../report/text-schema';
import type { StoreKeys } from '../store/keys';
import { StoreTooLarge, type Store } from '../store/store';
import { isRunId } from '../run/record';

/** Far more than 20 types in 20 subnets on two markets take, bytes. */
const LARGEST = 512 * 1024;
const MOST_TRIES = 1_000;

const word = z.string().regex(/^[A-Za-z0-9.-]{1,80}$/);
const ms = z.number().int().nonnegative();
const tried = z.object({ type: word, subnet: word, zone: word, market: z.enum(['spot', 'on-demand']) });

const schema = z
  .object({
    v: z.literal(1),
    generation: z.string().regex(/^[0-9a-f]{16}$/),
    at: ms,
    by: text(2048).refine(Boolean),
    made: z.enum(['remote-up', 'remote-train']),
    run: z.string().refine(isRunId).nullable(),
    tries: z.array(tried).max(MOST_TRIES),
    n: z.number().int().nonnegative(),
    refused: z.array(word).max(MOST_TRIES),
    price: text(256).nullable(),
    deadline: ms.nullable(),
    parameters: z.string().regex(/^[0-9a-f]{64}$/),
    instance: z
      .string()
      .regex(/^i-[0-9a-f]{8,17}$/)
      .nullable(),
  })
  .refine(({ n, tries, refused }) => n <= tries.length && refused.length === n);

/** How far a launch is: docs/FORMAT.md, "Launch". */
export type LaunchState = z.infer<typeof schema>;

export interface StoredLaunch {
  /** null: it is not one that we can read. */
  state: LaunchState | null;
  etag: string;
  /** How long ago it was written, ms, by S3's clock alone. */
  age: number;
}

/** @returns null for bytes that are no such object. @throws Problem where a later version wrote it. */
export function parseLaunch(bytes: Buffer): LaunchState | null {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    return null;
  }
  const { v } = (value ?? {}) as { v?: unknown };
  if (typeof v === 'number' && v > 1)
    throw new Problem('LAUNCH_STATE', 'The launch that is under way was begun by a later version of nx-ec2.', {
      next: 'Update nx-ec2.',
    });
  return schema.safeParse(value).data ?? null;
}

/** The `launch/<key>` objects of a project's store. */
export class LaunchJournal {
  private readonly key: string;

  constructor(
    private readonly store: Store,
    keys: StoreKeys,
    madeKey: string,
  ) {
    this.key = keys.launch(madeKey);
  }

  async read(signal?: AbortSignal): Promise<StoredLaunch | null> {
    const stored = await this.store.getVersion(this.key, LARGEST, { signal }).catch((error: unknown) => {
      // As damaged as one that is no JSON: it is written over, and is in the way of no launch and no remote-down.
      if (error instanceof StoreTooLarge && error.etag !== null) return { tooLarge: error.etag };
      throw error;
    });
    if (!stored) return null;
    if ('tooLarge' in stored) return { state: null, etag: stored.tooLarge, age: 0 };
    const { bytes, etag, modified, answered } = stored;
    return { state: parseLaunch(bytes), etag, age: Math.max(0, answered - modified) };
  }

  /**
   * @param etag of what it is to replace; null: there is to be none.
   * @returns false where somebody else has written meanwhile.
   */
  async write(state: LaunchState, etag: string | null): Promise<string | null> {
    return this.store.swap(this.key, Buffer.from(JSON.stringify(state)), etag);
  }
}
