import { randomBytes } from 'node:crypto';
import { CreateSecretCommand, PutSecretValueCommand } from '@aws-sdk/client-secrets-manager';
import { GetParametersCommand, PutParameterCommand } from '@aws-sdk/client-ssm';
import { Aws } from '../../aws/clients';
import { onInstance } from '../../command/instance-python.fixture';
import { LOCAL_IDENTITY } from '../../local-aws/protocol/identity';
import { refusal, startFixture, type Fixture } from '../../local-aws/local-aws.fixture';
import type { Problem } from '../../report/problem';
import { readSecrets } from './secrets';

const DENIED = {
  ...LOCAL_IDENTITY,
  accessKeyId: 'AKIAWITHOUTSECRETS00',
  deny: ['ssm:GetParameter', 'secretsmanager:*'],
};
const value = randomBytes(12).toString('hex');
const SOURCES = {
  PLAIN: 'ssm:plain',
  SEALED: 'ssm:/team/sealed',
  BY_ARN: 'ssm:arn:aws:ssm:eu-west-1:000000000000:parameter/team/sealed',
  WHOLE: 'secretsmanager:team/whole',
  KEY: 'secretsmanager:team/json#pass word',
  NUMBER: 'secretsmanager:team/json#port',
};
const VALUES = {
  PLAIN: `plain-${value}`,
  SEALED: `sealed-${value}\nsecond`,
  BY_ARN: `sealed-${value}\nsecond`,
  WHOLE: `whole-${value}`,
  KEY: `key-${value}`,
  NUMBER: '5432',
};

describe('secrets', () => {
  let at: Fixture;
  let aws: Aws;
  let box: string;
  const environment = { ...process.env };
  beforeAll(async () => {
    at = await startFixture({ identities: [DENIED] });
    box = at.aws.named.get('box')!.id;
    Object.assign(process.env, at.aws.environment);
    aws = new Aws({ region: 'eu-west-1' });
    const manager = await aws.secretsManager();
    await at.ssm.send(new PutParameterCommand({ Name: 'plain', Type: 'String', Value: VALUES.PLAIN }));
    await at.ssm.send(new PutParameterCommand({ Name: '/team/sealed', Type: 'SecureString', Value: VALUES.SEALED }));
    await manager.send(new CreateSecretCommand({ Name: 'team/whole', SecretString: 'first' }));
    await manager.send(new PutSecretValueCommand({ SecretId: 'team/whole', SecretString: VALUES.WHOLE }));
    const json = JSON.stringify({ 'pass word': VALUES.KEY, port: 5432 });
    await manager.send(new CreateSecretCommand({ Name: 'team/json', SecretString: json }));
    await manager.send(new CreateSecretCommand({ Name: 'team/binary', SecretBinary: Buffer.from('x') }));
  });
  afterAll(async () => {
    aws.close();
    await at.close();
    process.env = environment;
  });

  /** As the instance reads them, by its role. */
  const onBox = (secrets: Record<string, string>) =>
    onInstance<Record<string, string>>(
      at.aws,
      box,
      'from nx_ec2_runtime.run.secrets import read_secrets\nanswer = read_secrets(given)',
      {
        secrets,
        store: { region: 'eu-west-1' },
        endpoints: { s3: null, ssm: at.aws.url, secretsmanager: at.aws.url },
      },
    );
  const problem = (secrets: Record<string, string>, by = aws) =>
    readSecrets(by, secrets).then(
      () => undefined,
      (error: Problem) => error,
    );

  it('are read from both stores, by name, ARN and key, on either side', async () => {
    expect(await readSecrets(aws, SOURCES)).toEqual(VALUES);
    expect(await onBox(SOURCES)).toEqual(VALUES);
  });

  it.each([
    ['ssm:/absent', 'ParameterNotFound'],
    ['secretsmanager:absent', 'ResourceNotFoundException'],
    ['secretsmanager:team/json#absent', 'no key absent'],
    ['secretsmanager:team/whole#key', 'not JSON'],
    ['secretsmanager:team/binary', 'binary'],
  ])('%s is refused with its name and the reason, never a value', async (source, why) => {
    const here = await problem({ TOKEN: source });
    const there = await onBox({ TOKEN: source });
    expect(there).toMatchObject({ failure: 'SECRET_FAILED', name: 'TOKEN', source });
    for (const text of [String(here), JSON.stringify(there)]) {
      expect(text).toContain('TOKEN');
      expect(text).toContain(why);
      expect(text).not.toContain(value);
    }
  });

  it('name the missing permission', async () => {
    Object.assign(process.env, { AWS_ACCESS_KEY_ID: DENIED.accessKeyId });
    const denied = new Aws({ region: 'eu-west-1' });
    at.aws.role(box).deny.push(...DENIED.deny);
    try {
      for (const [source, action] of [
        ['ssm:plain', 'ssm:GetParameter'],
        ['secretsmanager:team/whole', 'secretsmanager:GetSecretValue'],
      ]) {
        expect(await problem({ TOKEN: source }, denied)).toMatchObject({
          aws: { code: 'AccessDeniedException' },
          next: expect.stringContaining(action),
        });
        expect(await onBox({ TOKEN: source })).toMatchObject({
          failure: 'SECRET_FAILED',
          aws: expect.stringMatching(/^AccessDeniedException: User: .*local-instance/),
          fix: expect.stringContaining(action),
        });
      }
    } finally {
      at.aws.role(box).deny.length = 0;
      Object.assign(process.env, at.aws.environment);
      denied.close();
    }
  });

  it('need a role on the instance', async () => {
    at.aws.role(box).name = null;
    expect(await onBox({ TOKEN: 'ssm:plain' })).toMatchObject({ failure: 'NO_ROLE' });
    at.aws.role(box).name = 'local-instance';
  });

  it('are not decrypted unless the request asks for it, and several are read at once', async () => {
    const ask = new GetParametersCommand({ Names: ['plain', '/team/sealed', '/absent'] });
    const { Parameters, InvalidParameters } = await at.ssm.send(ask);
    expect(Parameters!.map(({ Value }) => Value)).toEqual([VALUES.PLAIN, expect.not.stringContaining(value)]);
    expect(InvalidParameters).toEqual(['/absent']);
    const again = new PutParameterCommand({ Name: 'plain', Type: 'String', Value: 'x' });
    expect(await refusal(at.ssm.send(again))).toBe('ParameterAlreadyExists 400');
  });
});
