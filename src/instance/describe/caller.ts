import { hash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import type { Aws } from '../../aws/clients';
import { awsProblem } from '../../aws/reason';
import { readCache, writeCache } from '../../system/cache-file';
import { machineState } from '../../workspace/state';

const asked = new WeakMap<Aws, Promise<string>>();

/** Who the credentials in force belong to: the caller's ARN. Asked once. */
export function callerArn(aws: Aws): Promise<string> {
  let asking = asked.get(aws);
  if (!asking) asked.set(aws, (asking = ask(aws)));
  return asking;
}

async function ask(aws: Aws): Promise<string> {
  try {
    return (await aws.call('GetCallerIdentity', {})).Arn!;
  } catch (error) {
    throw awsProblem('CREDENTIALS', 'Could not determine the identity of the caller.', error);
  }
}

/**
 * The same, asked of AWS once for each access key: a key belongs to one principal as long as it lives, and a session
 * has a key of its own (IAM user guide, "Understanding unique ID prefixes").
 * @returns what is remembered, or undefined.
 */
export async function rememberedCaller(aws: Aws): Promise<string | undefined> {
  let file: string;
  try {
    file = await callerFile(aws);
  } catch {
    // No credentials: that is said where AWS is asked.
    return undefined;
  }
  return readCache(file, (bytes) => remembered.parse(JSON.parse(bytes.toString())).arn) ?? undefined;
}

const remembered = z.object({ v: z.literal(1), arn: z.string().regex(/^arn:[!-~]{1,2048}$/) });

/** Asks, and remembers. */
export async function learnCaller(aws: Aws): Promise<string> {
  const arn = await callerArn(aws);
  writeCache(await callerFile(aws), JSON.stringify({ v: 1, arn }));
  return arn;
}

async function callerFile(aws: Aws): Promise<string> {
  return join(machineState(), 'callers', hash('sha256', await aws.accessKey(), 'hex').slice(0, 32));
}
