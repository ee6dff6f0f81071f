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
    'any call, if "roleArn" or the profile names a role',
    'on that role, which then needs all other permissions',
  ),
  of(
    'caller',
    's3:GetObject',
    'a presigned URL that the instance opens',
    'a URL has the permissions of its signer at the time of its use, and expires with the session token of the signer',
  ),
  of(
    'caller',
    's3:PutObject',
    'a presigned form that the instance sends',
    'the same, for runs that a client follows, without the role of the instance',
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
    'a bucket or "kmsKeyId" with SSE-KMS: S3 uses the key on behalf of the signer',
  ),
  of(
    'caller',
    'kms:Decrypt',
    's3:GetObject, a URL, a multipart upload',
    'the same; a multipart upload also reads its own parts',
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
    'ec2:RunInstances, CreateFleet, CreateLaunchTemplate, CreatePlacementGroup',
    'resources are tagged in the call that creates them, never later: ec2:CreateAction limits the permission to that',
  ),
  of(
    'caller',
    'iam:PassRole',
    'ec2:RunInstances, CreateLaunchTemplate, CreateFleet',
    'an instance gets its role by its profile: the launching caller passes the role on',
  ),
  of(
    'caller',
    'iam:CreateServiceLinkedRole',
    'the first spot request and the first fleet of the account',
    'EC2 manages spot instances and fleets with service-linked roles; needed only until these exist',
  ),
  of(
    'caller',
    'kms:CreateGrant',
    'ec2:RunInstances, StartInstances',
    'volumes that are encrypted with a customer managed key; with kms:Decrypt, kms:GenerateDataKeyWithoutPlaintext, kms:ReEncrypt*, kms:DescribeKey on that key. Not in the template: a fleet also needs a grant for its service-linked role',
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
    'sessions, and commands with current agents: CreateControlChannel, CreateDataChannel, OpenControlChannel, OpenDataChannel',
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
    'the same for the role, with which a run writes to the store',
  ),
  of(
    'instance role',
    'kms:Decrypt',
    'ssm:GetParameter, secretsmanager:GetSecretValue',
    'a parameter or secret that is encrypted with a customer managed key; AWS managed keys (aws/ssm, aws/secretsmanager) need no permission',
  ),
  of(
    'instance role',
    'ec2:TerminateInstances',
    'ec2:DeleteFleets',
    'a fleet that is deleted with its instances terminates them with its service-linked role. It is not known whether AWS also checks the caller',
  ),
];
