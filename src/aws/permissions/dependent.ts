/** An action that AWS asks for inside another one: no call of ours shows it. */
export interface Dependent {
  who: 'caller' | 'instance role';
  action: string;
  /** What it is asked for at. */
  at: string;
  why: string;
}

const of = (who: Dependent['who'], action: string, at: string, why: string): Dependent => ({ who, action, at, why });

export const DEPENDENT: Dependent[] = [
  of(
    'caller',
    'sts:AssumeRole',
    'any call, where "roleArn" or the profile names a role',
    'on that role; it is that role then that needs the rest',
  ),
  of(
    'caller',
    's3:GetObject',
    'a presigned URL that the instance opens',
    'a URL can do what its signer may at the time when it is opened, and dies with the token of its session',
  ),
  of(
    'caller',
    's3:PutObject',
    'a presigned form that the instance sends',
    'the same, for runs that a client follows without the role',
  ),
  of(
    'caller',
    's3:ListBucket',
    'any read of an object',
    'with it, S3 answers 404 for an object that does not exist; without it 403, as for a denied request',
  ),
  of(
    'caller',
    'kms:GenerateDataKey',
    's3:PutObject, a form',
    'a bucket or "kmsKeyId" with SSE-KMS: S3 asks the key in the name of who signed',
  ),
  of(
    'caller',
    'kms:Decrypt',
    's3:GetObject, a URL, a multipart upload',
    'the same; an upload in parts reads its own parts',
  ),
  of(
    'caller',
    'ssmmessages:OpenDataChannel',
    "a session's stream",
    'the token that StartSession gives opens it; AWS asks for the action where accounts have it asked for',
  ),
  of(
    'caller',
    'ec2:CreateTags',
    'ec2:RunInstances, CreateFleet, CreateLaunchTemplate',
    'what is made is tagged in the call that makes it, never afterwards: ec2:CreateAction limits it to that',
  ),
  of(
    'caller',
    'iam:PassRole',
    'ec2:RunInstances, CreateLaunchTemplate, CreateFleet',
    'an instance gets a role by its profile: whoever launches it hands the role out',
  ),
  of(
    'caller',
    'iam:CreateServiceLinkedRole',
    'the first spot request, the first fleet of the account',
    'EC2 manages spot instances and fleets with roles of its own; needed only until they exist',
  ),
  of(
    'caller',
    'kms:CreateGrant',
    'ec2:RunInstances, StartInstances',
    "volumes that are encrypted with a key of one's own; with kms:Decrypt, kms:GenerateDataKeyWithoutPlaintext, kms:ReEncrypt*, kms:DescribeKey on that key. Not in the template: a fleet needs a grant for its service-linked role besides",
  ),
  of(
    'instance role',
    'ssm:UpdateInstanceInformation',
    'the SSM agent',
    'the agent registers the instance, and reports every few minutes that it runs',
  ),
  of(
    'instance role',
    'ssmmessages:*',
    'the SSM agent',
    'sessions, and commands with agents of today: CreateControlChannel, CreateDataChannel, OpenControlChannel, OpenDataChannel',
  ),
  of(
    'instance role',
    'ec2messages:*',
    'the SSM agent',
    'commands: AcknowledgeMessage, DeleteMessage, FailMessage, GetEndpoint, GetMessages, SendReply',
  ),
  of(
    'instance role',
    'kms:GenerateDataKey, kms:Decrypt',
    's3:PutObject, s3:GetObject',
    'the same for the role: a run tells the store of itself in its own name',
  ),
  of(
    'instance role',
    'kms:Decrypt',
    'ssm:GetParameter, secretsmanager:GetSecretValue',
    "a parameter or secret that is encrypted with a key of one's own; AWS's own keys (aws/ssm, aws/secretsmanager) need none",
  ),
  of(
    'instance role',
    'ec2:TerminateInstances',
    'ec2:DeleteFleets',
    'a fleet that is deleted with its instances ends them by its service-linked role. Not established whether AWS asks the caller as well',
  ),
];
