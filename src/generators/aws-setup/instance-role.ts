import { KEY } from '../../aws/permissions/caller';
import { AGENT, DATA, RECOVERY, RUNS, SECRETS } from '../../aws/permissions/role';
import type { Statement } from '../../aws/permissions/statement';
import { allow, policy, where, type Json } from './render';

/** The value of the parameter `Prefix` that restricts nothing. */
export const ANY_PREFIX = '*';

/** Parameters of the template that policies depend on. */
export const SETTINGS: Json = {
  Prefix: {
    Type: 'String',
    Default: ANY_PREFIX,
    AllowedPattern: "\\*|([A-Za-z0-9!_.'()-]+/)+",
    Description:
      'The only prefix of the bucket that callers and instances may use, with a slash at its end, e.g. team-a/; * allows any',
  },
  SecretPrefix: {
    Type: 'String',
    Default: 'nx-ec2',
    AllowedPattern: '[A-Za-z0-9_.-][A-Za-z0-9_./-]*',
    Description:
      'Trainings may read parameters below /<this>/ and secrets whose names begin with <this>/, and no others',
  },
  DataArns: {
    Type: 'CommaDelimitedList',
    Default: '',
    Description:
      'What "train.datasets" may use: ARNs of buckets and of their objects, e.g. arn:aws:s3:::acme-data,arn:aws:s3:::acme-data/*',
  },
  KmsKeyArn: {
    Type: 'String',
    Default: '',
    AllowedPattern: '|arn:[a-z-]+:kms:.+:key/.+',
    Description: 'The ARN of the key that "kmsKeyId" names, if objects are encrypted with one',
  },
};

/** A condition of the template: a parameter, or list of them, does not have the default that sets nothing. */
export function whereSet(parameter: string, unset = ''): Json {
  const text = parameter === 'DataArns' ? { 'Fn::Join': ['', { Ref: parameter }] } : { Ref: parameter };
  return { 'Fn::Not': [{ 'Fn::Equals': [text, unset] }] };
}

/**
 * The role and its profile: the agent's rights, and what a run needs when no client signs its requests.
 * @param profile its name, where it is not CloudFormation's to choose.
 */
export function instanceResources(profile: string | undefined, recovery: boolean): Json {
  // A policy without statements is none: the condition is the policy's.
  const given = (name: string, condition: string, statements: Statement[]) =>
    where(
      condition,
      own(
        name,
        statements.map(({ where: _, ...each }) => each),
      ),
    );
  return {
    InstanceRole: {
      Type: 'AWS::IAM::Role',
      Properties: {
        Description: 'Instances that train: the SSM agent, and what runs read and write in the store',
        AssumeRolePolicyDocument: policy({
          Effect: 'Allow',
          Principal: { Service: { 'Fn::Sub': 'ec2.${AWS::URLSuffix}' } },
          Action: 'sts:AssumeRole',
        }),
        Policies: [
          own('ssm-agent', AGENT),
          own('runs', RUNS),
          own('secrets', SECRETS),
          given('data', 'HasData', DATA),
          given('key', 'HasKey', [KEY]),
          ...(recovery ? [own('recovery', RECOVERY)] : []),
        ],
      },
    },
    InstanceProfile: {
      Type: 'AWS::IAM::InstanceProfile',
      Properties: { ...(profile ? { InstanceProfileName: profile } : {}), Roles: [{ Ref: 'InstanceRole' }] },
    },
  };
}

function own(name: string, statements: Statement[]): Json {
  return { PolicyName: name, PolicyDocument: allow(...statements) };
}
