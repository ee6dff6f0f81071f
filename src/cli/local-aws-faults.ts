import { readFileSync } from 'node:fs';
import { z } from 'zod';
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

/** Reads the faults that a file lists. @throws Error that names the file and the place in it. */
export function readFaults(file: string): Fault[] {
  const value = parseJson(file, readText(file));
  const parsed = z.array(faultSchema).safeParse(value);
  if (parsed.success) return parsed.data;
  const [{ path, message }] = parsed.error.issues;
  throw new Error(`--faults: ${file}: ${path.length ? `${path.join('.')}: ` : ''}${message}`);
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
