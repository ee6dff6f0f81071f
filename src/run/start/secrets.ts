import type { Aws } from '../../aws/clients';
import { awsCode, awsProblem } from '../../aws/reason';
import { sdk } from '../../aws/sdk';
import { Problem } from '../../report/problem';

/** The permission that reading needs, by the kind of source. */
const PERMISSION: Record<string, string> = {
  ssm: 'ssm:GetParameter on it, and kms:Decrypt where its key is not aws/ssm',
  secretsmanager: 'secretsmanager:GetSecretValue on it, and kms:Decrypt where its key is not aws/secretsmanager',
};

/**
 * Reads a training's secrets with the caller's credentials (`secretsFrom: client`).
 * @param secrets variable → `ssm:<parameter>` or `secretsmanager:<secret>[#<key of its JSON>]`, each by name or ARN.
 * @throws Problem that names the secret and what AWS says, never a value.
 */
export async function readSecrets(aws: Aws, secrets: Record<string, string>): Promise<Record<string, string>> {
  const read = async ([name, source]: [string, string]): Promise<[string, string]> => {
    const colon = source.indexOf(':');
    const [kind, id] = [source.slice(0, colon), source.slice(colon + 1)];
    const what = `The secret ${name} could not be read from ${source}.`;
    let value: string | undefined;
    try {
      value = kind === 'ssm' ? await parameter(aws, id) : await secret(aws, id.split('#')[0]);
    } catch (error) {
      const denied = /^AccessDenied/.test(awsCode(error) ?? '');
      throw awsProblem('SECRET', what, error, denied ? `The caller needs ${PERMISSION[kind]}.` : undefined, [
        `train.secrets.${name}`,
      ]);
    }
    const key = kind === 'ssm' ? undefined : id.split('#')[1];
    if (value === undefined) throw new Problem('SECRET', `${what} It is binary, not text.`);
    if (key) value = ofJson(value, key, what);
    if (value.includes('\0'))
      throw new Problem('SECRET', `${what} Its value contains a NUL byte, which a variable can't hold.`);
    return [name, value];
  };
  return Object.fromEntries(await Promise.all(Object.entries(secrets).map(read)));
}

async function parameter(aws: Aws, Name: string): Promise<string | undefined> {
  const { GetParameterCommand } = sdk.ssm();
  const ssm = await aws.ssm();
  return (await ssm.send(new GetParameterCommand({ Name, WithDecryption: true }))).Parameter?.Value;
}

async function secret(aws: Aws, SecretId: string): Promise<string | undefined> {
  const { GetSecretValueCommand } = sdk.secretsManager();
  const secretsManager = await aws.secretsManager();
  return (await secretsManager.send(new GetSecretValueCommand({ SecretId }))).SecretString;
}

/** The value under a key of a secret's JSON; what is no text, as JSON. */
function ofJson(text: string, key: string, what: string): string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Why it is none would quote it.
    throw new Problem('SECRET', `${what} It is not JSON, so it has no key ${key}.`);
  }
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key))
    throw new Problem('SECRET', `${what} Its JSON has no key ${key}.`);
  const found = (value as Record<string, unknown>)[key];
  return typeof found === 'string' ? found : JSON.stringify(found);
}
