import { z } from 'zod';
import { INSTANCE_ID, RUN_ID } from './ids';

export const count = z.number().int().nonnegative();
/** A time that a `Date` can hold. */
export const ms = z.number().nonnegative().max(8_640_000_000_000_000);
export const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
export const runId = z.string().regex(RUN_ID);
export const instanceId = z.string().regex(INSTANCE_ID, 'is no id of an instance');
