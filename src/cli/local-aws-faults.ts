import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { SHORTAGE_CODES, type Shortage } from '../local-aws/ec2/launch/capacity';
import type { PlannedInterruption } from '../local-aws/ec2/spot/interruptions';
import type { Fault } from '../local-aws/link/faults';

const count = z.number().nonnegative();

/** A fault with no word that nothing reads: a misspelled one would make each request fail, or none. */
const faultSchema: z.ZodType<Fault> = z.strictObject({
  service: z.string().optional(),
  action: z.string().optional(),
  link: z.enum(['client', 'instance']).optional(),
  headers: z.array(z.string()).optional(),
  after: count.optional(),
  times: count.optional(),
  error: z
    .strictObject({
      code: z.string(),
      message: z.string().optional(),
      status: count.optional(),
      headers: z.record(z.string(), z.string()).optional(),
    })
    .optional(),
  ignore: z.array(z.string()).optional(),
  apart: count.optional(),
  cut: z.enum(['before', 'after']).optional(),
  delay: count.optional(),
  frame: z.enum(['duplicate', 'swap', 'drop', 'cut']).optional(),
  bytes: count.optional(),
});

const shortageSchema: z.ZodType<Shortage> = z.strictObject({
  zone: z.string().optional(),
  type: z.string().optional(),
  market: z.enum(['spot', 'on-demand']).optional(),
  instances: z.int().nonnegative().optional(),
  code: z.enum(SHORTAGE_CODES).optional(),
  times: z.int().positive().optional(),
});

const interruptionSchema: z.ZodType<PlannedInterruption> = z.strictObject({
  index: z.int().nonnegative().optional(),
  type: z.string().optional(),
  after: count.optional(),
  notice: count.optional(),
  times: z.int().positive().optional(),
});

const capacitySchema = z.strictObject({ capacity: shortageSchema });
const interruptSchema = z.strictObject({ interrupt: interruptionSchema });

export interface FaultFile {
  /** Of requests. */
  faults: Fault[];
  /** Limits of what EC2 can launch. */
  capacity: Shortage[];
  /** Spot instances that EC2 takes back. */
  interruptions: PlannedInterruption[];
}

/** Reads the faults that a file lists. @throws Error that names the file and the place in it. */
export function readFaults(file: string): FaultFile {
  const value = parseJson(file, readText(file));
  if (!Array.isArray(value)) throw new Error(`--faults: ${file}: must be a list of faults`);
  const found: FaultFile = { faults: [], capacity: [], interruptions: [] };
  for (const [index, item] of (value as unknown[]).entries()) {
    const has = (key: string) => typeof item === 'object' && item !== null && key in item;
    if (has('capacity')) found.capacity.push(parseItem(file, index, item, capacitySchema).capacity);
    else if (has('interrupt')) found.interruptions.push(parseItem(file, index, item, interruptSchema).interrupt);
    else found.faults.push(parseItem(file, index, item, faultSchema));
  }
  return found;
}

function parseItem<T>(file: string, index: number, item: unknown, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(item);
  if (parsed.success) return parsed.data;
  const [{ path, message }] = parsed.error.issues;
  throw new Error(`--faults: ${file}: ${[index, ...path].join('.')}: ${message}`);
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new Error(`--faults: ${file} can't be read: ${(error as Error).message}`, { cause: error });
  }
}

function parseJson(file: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`--faults: ${file} is not valid JSON: ${(error as Error).message}`, { cause: error });
  }
}
