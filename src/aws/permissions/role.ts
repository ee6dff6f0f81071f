import { KEY } from './caller';
import { ec2, MANAGED_TAG, OURS, own, stored, storeKeys, type Statement } from './statement';

const ALL = 'all: the action takes no resource';

/** The part of AmazonSSMManagedInstanceCore that Run Command and Session Manager use. */
export const AGENT: Statement[] = [
  {
    Sid: 'Agent',
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
    on: ALL,
  },
];

/**
 * What an instance writes of a run. Only clients write `boot/`, from which the instances of a fleet start, and `stop`:
 * replacing `boot/` keeps a fleet from continuing its run.
 */
const WRITTEN = [
  'record.json',
  'probe',
  'times.json',
  'artifacts.json',
  'members.json',
  'starting.json',
  ...['log', 'metrics', 'part', 'checkpoint', 'slot'].map((folder) => `${folder}/*`),
];

/** Runs alone: packs, records, refs and what commands fetch are out of reach, and nothing can be removed. */
export const RUNS: Statement[] = [
  {
    Sid: 'ReadRuns',
    Action: ['s3:GetObject'],
    Resource: stored('projects/*/run/*'),
    on: '`v2/projects/*/run/*` below the prefix (parameter `Prefix` of the template; any by default)',
  },
  {
    Sid: 'WriteRuns',
    Action: ['s3:PutObject'],
    Resource: stored(...WRITTEN.map((name) => `projects/*/run/*/${name}`)),
    on: `${WRITTEN.map((name) => `\`${name}\``).join(', ')} of the same`,
  },
  {
    Sid: 'ListRuns',
    Action: ['s3:ListBucket'],
    Resource: ['${Bucket.Arn}'],
    Condition: { StringLike: { 's3:prefix': storeKeys('projects/*/run/*') } },
    on: 'the same',
  },
];

export const SECRETS: Statement[] = [
  {
    Sid: 'Parameters',
    Action: ['ssm:GetParameter'],
    Resource: [own('ssm', 'parameter/${SecretPrefix}/*')],
    on: '`/nx-ec2/*` (parameter `SecretPrefix` of the template)',
  },
  {
    Sid: 'Secrets',
    Action: ['secretsmanager:GetSecretValue'],
    Resource: [own('secretsmanager', 'secret:${SecretPrefix}/*')],
    on: '`nx-ec2/*` (the same)',
  },
];

export const DATA: Statement[] = [
  {
    Sid: 'Data',
    Action: ['s3:GetObject', 's3:ListBucket'],
    Resource: ['${DataArns}'],
    on: 'what `DataArns` names; nothing by default',
    where: 'DataArns',
  },
];

/** What an instance of a fleet does without a client: fetches the run, and deletes the fleet at the end. */
export const RECOVERY: Statement[] = [
  {
    Sid: 'Contents',
    Action: ['s3:GetObject'],
    Resource: stored('packs/*', 'projects/*/manifests/*'),
    on: 'packs, manifests',
  },
  { Sid: 'OwnTags', Action: ['ec2:DescribeTags'], Resource: '*', on: ALL },
  {
    Sid: 'EndFleet',
    Action: ['ec2:DeleteFleets', 'ec2:DeleteLaunchTemplate'],
    Resource: ec2('fleet', 'launch-template'),
    Condition: OURS,
    on: `resources tagged ${MANAGED_TAG}=true`,
  },
];

/** What looks after instances from outside. */
export const DEADLINE: Statement[] = [
  { Sid: 'LookAfter', Action: ['ec2:DescribeInstances', 'ec2:DescribeFleets'], Resource: '*', on: ALL },
  {
    Sid: 'End',
    Action: ['ec2:TerminateInstances', 'ec2:StopInstances', 'ec2:DeleteFleets'],
    Resource: ec2('instance', 'fleet'),
    Condition: OURS,
    on: `resources tagged ${MANAGED_TAG}=true`,
  },
];

/** All that an instance's role may have. */
export const ROLE: Statement[] = [...AGENT, ...RUNS, ...SECRETS, ...DATA, KEY, ...RECOVERY];
