import { LOGIN_USERS } from './login-users';
import {
  INSTANCE_TAG,
  MANAGED_TAG,
  OURS,
  OURS_BY_SSM,
  own,
  stored,
  storeKeys,
  type Condition,
  type Statement,
} from './statement';

const SESSION_DOCUMENTS = [
  'AWS-StartNonInteractiveCommand',
  'AWS-StartInteractiveCommand',
  'AWS-StartPortForwardingSession',
  'AWS-StartSSHSession',
];
const END_SESSIONS = ['ssm:ResumeSession', 'ssm:TerminateSession'];
/** Without it, leave to start sessions on an instance would be leave to open a shell there. */
const CHECK_DOCUMENT: Condition = { BoolIfExists: { 'ssm:SessionDocumentAccessCheck': 'true' } };

const document = (name: string) => `arn:\${AWS::Partition}:ssm:\${AWS::Region}::document/${name}`;
/** A key for another user needs a statement of its own. */
const FOR_LOGIN_USERS: Condition = { StringEquals: { 'ec2:osuser': LOGIN_USERS } };
const PUSH_KEY = 'ec2-instance-connect:SendSSHPublicKey';

const sessions = (name: string) => [own('ssm', `session/${name}`)];

/** What signs the records of runs: callers may read it, instances may not. */
const STORE_SECRETS = own('ssm', 'parameter/nx-ec2-callers/${Bucket}/${Prefix}secret');

/** Reading and writing encrypted objects. */
export const KEY: Statement = {
  Sid: 'Key',
  Action: ['kms:GenerateDataKey', 'kms:Decrypt'],
  Resource: ['${KmsKeyArn}'],
  on: 'the key that "kmsKeyId" names',
  where: 'KmsKeyArn',
};

/** What a caller needs for instances that are there: to sync, train, look and fetch. */
export const CALLER: Statement[] = [
  { Sid: 'Bucket', Action: ['s3:ListBucket'], Resource: ['${Bucket.Arn}'], on: 'the bucket', where: '!Prefix' },
  {
    Sid: 'BelowPrefix',
    Action: ['s3:ListBucket'],
    Resource: ['${Bucket.Arn}'],
    Condition: { StringLike: { 's3:prefix': storeKeys('*') } },
    on: 'the prefix (parameter `Prefix` of the template)',
    where: 'Prefix',
  },
  {
    Sid: 'Objects',
    Action: ['s3:GetObject', 's3:PutObject', 's3:DeleteObject', 's3:AbortMultipartUpload'],
    Resource: stored('*'),
    on: 'the objects of the store',
  },
  {
    Sid: 'StoreSecret',
    Action: ['ssm:GetParameter', 'ssm:PutParameter'],
    Resource: [STORE_SECRETS],
    on: "the store's secret",
  },
  {
    Sid: 'Document',
    Action: ['ssm:SendCommand'],
    Resource: [document('AWS-RunShellScript')],
    on: 'the document AWS-RunShellScript',
  },
  {
    Sid: 'TaggedInstances',
    Action: ['ssm:SendCommand'],
    Resource: [own('ec2', 'instance/*')],
    Condition: { Null: { [`ssm:resourceTag/${INSTANCE_TAG}`]: 'false' } },
    on: `instances tagged ${INSTANCE_TAG}`,
  },
  {
    Sid: 'SessionDocuments',
    Action: ['ssm:StartSession'],
    Resource: SESSION_DOCUMENTS.map(document),
    Condition: CHECK_DOCUMENT,
    on: 'the documents of its sessions',
  },
  {
    Sid: 'SessionsOnTaggedInstances',
    Action: ['ssm:StartSession'],
    Resource: [own('ec2', 'instance/*')],
    Condition: { Null: { [`ssm:resourceTag/${INSTANCE_TAG}`]: 'false' }, ...CHECK_DOCUMENT },
    on: `instances tagged ${INSTANCE_TAG}`,
  },
  {
    Sid: 'SshKeysOnTaggedInstances',
    Action: [PUSH_KEY],
    Resource: [own('ec2', 'instance/*')],
    Condition: { Null: { [`aws:ResourceTag/${INSTANCE_TAG}`]: 'false' }, ...FOR_LOGIN_USERS },
    on: `instances tagged ${INSTANCE_TAG}, for the login users of images`,
  },
  // A session is named by who opened it: a user by name, a role by its session. A variable without a value makes a
  // statement match nothing, so each has its own.
  ...(['userid', 'username'] as const).map((who) => ({
    Sid: who === 'userid' ? 'OwnSessions' : 'OwnSessionsByName',
    Action: [...END_SESSIONS, 'ssmmessages:OpenDataChannel'],
    Resource: sessions(`\${!aws:${who}}-*`),
    on: 'sessions of its own',
  })),
  {
    Sid: 'OwnSessionsByTag',
    Action: END_SESSIONS,
    Resource: sessions('*'),
    Condition: { StringLike: { 'ssm:resourceTag/aws:ssmmessages:session-id': '${!aws:userid}*' } },
    on: 'sessions of its own',
  },
  {
    Sid: 'Look',
    Action: [
      ...['ssm:GetCommandInvocation', 'ssm:DescribeInstanceInformation'],
      ...['ec2:DescribeInstances', 'ec2:DescribeSecurityGroups'],
    ],
    Resource: '*',
    on: 'all: the action takes no resource',
  },
  KEY,
];

/** The same for instances that nx-ec2 has made: they carry another tag. */
export const CALLER_ON_MADE: Statement[] = [
  {
    Sid: 'MadeInstances',
    Action: ['ssm:SendCommand'],
    Resource: [own('ec2', 'instance/*')],
    Condition: OURS_BY_SSM,
    on: `instances tagged ${MANAGED_TAG}=true`,
  },
  {
    Sid: 'SessionsOnMadeInstances',
    Action: ['ssm:StartSession'],
    Resource: [own('ec2', 'instance/*')],
    Condition: { ...OURS_BY_SSM, ...CHECK_DOCUMENT },
    on: `instances tagged ${MANAGED_TAG}=true`,
  },
  {
    Sid: 'SshKeysOnMadeInstances',
    Action: [PUSH_KEY],
    Resource: [own('ec2', 'instance/*')],
    Condition: { StringEquals: { ...OURS.StringEquals, ...FOR_LOGIN_USERS.StringEquals } },
    on: `instances tagged ${MANAGED_TAG}=true, for the login users of images`,
  },
];

/** With `"secretsFrom": "client"` it is the caller who reads them. The template gives that to the instances alone. */
export const CLIENT_SECRETS: Statement[] = [
  {
    Sid: 'ClientParameters',
    Action: ['ssm:GetParameter'],
    Resource: [own('ssm', 'parameter/${SecretPrefix}/*')],
    on: 'what "secrets" names (not in the template)',
  },
  {
    Sid: 'ClientSecrets',
    Action: ['secretsmanager:GetSecretValue'],
    Resource: [own('secretsmanager', 'secret:${SecretPrefix}/*')],
    on: 'what "secrets" names (not in the template)',
  },
];

/** What of a run names others of its objects. */
const RUN_LISTS = ['record.json', 'artifacts.json', 'checkpoint/*'].map((name) => `projects/*/run/*/${name}`);

/** A job that only prunes. */
export const PRUNE: Statement[] = [
  {
    Sid: 'List',
    Action: ['s3:ListBucket'],
    Resource: ['${Bucket.Arn}'],
    Condition: { StringLike: { 's3:prefix': storeKeys('*') } },
    on: 'the store',
  },
  {
    // What is needed is read off these; no plan, no archive, no log, no artifact.
    Sid: 'Read',
    Action: ['s3:GetObject'],
    Resource: stored(
      'packs/*',
      'indexes/*',
      'projects/*/manifests/*',
      'projects/*/ref/*',
      'projects/*/key/*',
      ...RUN_LISTS,
    ),
    on: 'packs, indexes, manifests, refs, keys, and the records and lists of runs',
  },
  { Sid: 'Write', Action: ['s3:PutObject'], Resource: stored('indexes/*'), on: 'indexes' },
  { Sid: 'Remove', Action: ['s3:DeleteObject'], Resource: stored('*'), on: 'the store' },
  {
    Sid: 'StoreSecret',
    Action: ['ssm:GetParameter'],
    Resource: [STORE_SECRETS],
    on: "the store's secret: without it, no record of a run can be verified, and less is removed",
  },
];
