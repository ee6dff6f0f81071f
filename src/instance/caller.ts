import { hash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Aws } from '../aws/clients';
import { awsProblem } from '../aws/reason';
import { machineState } from '../workspace/state';
import { sdk } from '../aws/sdk';

const asked = new WeakMap<Aws, Promise<string>>();

/** Who the credentials in force belong to: the caller's ARN. Asked once. */
export function callerArn(aws: Aws): Promise<string> {
  let asking = asked.get(aws);
  if (!asking) asked.set(aws, (asking = ask(aws)));
  return asking;
}

async function ask(aws: Aws): Promise<string> {
  const { GetCallerIdentityCommand } = sdk.sts();
  const sts = await aws.sts();
  try {
    const answer = await sts.send(new GetCallerIdentityCommand({}));
    return answer.Arn!;
  } catch (error) {
    throw awsProblem('CREDENTIALS', 'Could not find out who the caller is.', error);
  }
}

/**
 * The same, asked of AWS once for each access key: a key belongs to one principal as long as it lives, and a session
 * has a key of its own (IAM user guide, "Understanding unique ID prefixes").
 * @returns what is remembered, or undefined.
 */
export async function rememberedCaller(aws: Aws): Promise<string | undefined> {
  try {
    return readFileSync(await callerFile(aws), 'utf8');
  } catch {
    // Never asked, or no credentials: that is said where AWS is asked.
    return undefined;
  }
}

/** Asks, and remembers. */
export async function learnCaller(aws: Aws): Promise<string> {
  const arn = await callerArn(aws);
  const file = await callerFile(aws);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, arn);
  return arn;
}

async function callerFile(aws: Aws): Promise<string> {
  return join(machineState(), 'callers', hash('sha256', await aws.accessKey(), 'hex').slice(0, 32));
}
