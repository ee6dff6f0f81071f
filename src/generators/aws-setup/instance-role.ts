import { kmsStatement, policy, stored, type Json } from './statements';

/** Parameters of the template that the role depends on. */
export const SETTINGS: Json = {
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
      'What "train.data" may name: ARNs of buckets and of their objects, e.g. arn:aws:s3:::acme-data,arn:aws:s3:::acme-data/*',
  },
  KmsKeyArn: {
    Type: 'String',
    Default: '',
    AllowedPattern: '|arn:[a-z-]+:kms:.+:key/.+',
    Description: 'The ARN of the key that "kmsKeyId" names, where objects are encrypted with one',
  },
};

/** A condition of the template: a parameter, or list of them, is not left empty. */
export function whereSet(parameter: string): Json {
  const text = parameter === 'DataArns' ? { 'Fn::Join': ['', { Ref: parameter }] } : { Ref: parameter };
  return { 'Fn::Not': [{ 'Fn::Equals': [text, ''] }] };
}

/** The role's policies: the agent's, and what a run does in its own name when nobody is there to sign for it. */
export function instancePolicies(): Json[] {
  return [
    {
      PolicyName: 'ssm-agent',
      // The part of AmazonSSMManagedInstanceCore that Run Command and Session Manager use.
      PolicyDocument: policy({
        Effect: 'Allow',
        Action: [
          'ssm:UpdateInstanceInformation',
          'ssmmessages:CreateControlChannel',
          'ssmmessages:CreateDataChannel',
          'ssmmessages:OpenControlChannel',
          'ssmmessages:OpenDataChannel',
          'ec2messages:AcknowledgeMessage',
          'ec2messages:DeleteMessage',
          'ec2messages:FailMessage',
          'ec2messages:GetEndpoint',
          'ec2messages:GetMessages',
          'ec2messages:SendReply',
        ],
        Resource: '*',
      }),
    },
    {
      PolicyName: 'runs',
      // Runs alone: packs, records, refs and what commands fetch are out of reach, and nothing can be removed.
      PolicyDocument: policy(
        { Sid: 'Runs', Effect: 'Allow', Action: ['s3:GetObject', 's3:PutObject'], Resource: stored('*/run/*') },
        {
          Sid: 'ListRuns',
          Effect: 'Allow',
          Action: 's3:ListBucket',
          Resource: { 'Fn::GetAtt': ['Bucket', 'Arn'] },
          Condition: { StringLike: { 's3:prefix': ['v1/*/run/*', '*/v1/*/run/*'] } },
        },
      ),
    },
    {
      PolicyName: 'secrets',
      PolicyDocument: policy(
        {
          Sid: 'Parameters',
          Effect: 'Allow',
          Action: 'ssm:GetParameter',
          Resource: own('ssm', 'parameter/${SecretPrefix}/*'),
        },
        {
          Sid: 'Secrets',
          Effect: 'Allow',
          Action: 'secretsmanager:GetSecretValue',
          Resource: own('secretsmanager', 'secret:${SecretPrefix}/*'),
        },
      ),
    },
    where('HasData', {
      PolicyName: 'data',
      PolicyDocument: policy({
        Sid: 'Data',
        Effect: 'Allow',
        Action: ['s3:GetObject', 's3:ListBucket'],
        Resource: { Ref: 'DataArns' },
      }),
    }),
    where('HasKey', { PolicyName: 'key', PolicyDocument: policy(kmsStatement()) }),
  ];
}

function where(condition: string, value: Json): Json {
  return { 'Fn::If': [condition, value, { Ref: 'AWS::NoValue' }] };
}

/** A resource of this account and region. */
function own(service: string, resource: string): Json {
  return { 'Fn::Sub': `arn:\${AWS::Partition}:${service}:\${AWS::Region}:\${AWS::AccountId}:${resource}` };
}
