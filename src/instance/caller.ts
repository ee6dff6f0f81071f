import { hash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Aws } from '../aws/clients';
import { awsProblem } from '../aws/reason';
import { machineState } from '../workspace/state';

/** Who the credentials in force belong to: the caller's ARN. */
export async function callerArn(aws: Aws): Promise<string> {
  const [{ GetCallerIdentityCommand }, sts] = await Promise.all([import('@aws-sdk/client-sts'), aws.sts()]);
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
 */
export async function knownCaller(aws: Aws): Promise<string> {
  const sts = await aws.sts();
  let key: string;
  try {
    key = hash('sha256', (await sts.config.credentials()).accessKeyId, 'hex').slice(0, 32);
  } catch {
    // Why there are none is said where AWS is asked.
    return callerArn(aws);
  }
  const file = join(machineState(), 'callers', key);
  try {
    return readFileSync(file, 'utf8');
  } catch {
    const arn = await callerArn(aws);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, arn);
    return arn;
  }
}
