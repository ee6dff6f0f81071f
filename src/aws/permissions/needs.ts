/** An action of AWS that something calls. */
export interface Need {
  /** e.g. `ssm:SendCommand`. */
  action: string;
  why: string;
  /** Absent: always. */
  when?: string;
}

const need = (action: string, why: string, when?: string): Need => ({ action, why, ...(when ? { when } : {}) });
/** The same, in some cases only. */
const where = (when: string, needs: Need[]): Need[] => needs.map((each) => ({ ...each, when }));

const FIRST = 'from a machine that has never synced';

/** Who and where: asked where it is not remembered. */
const WHO = [
  need('sts:GetCallerIdentity', "keeps callers' trees apart (needs no permission)", FIRST),
  need('ec2:DescribeInstances', 'finds the instance', 'it is named by name or tag, or does not answer'),
  need('ssm:DescribeInstanceInformation', 'whether Systems Manager reaches it', `${FIRST}, or it does not answer`),
  need('s3:ListBucket', 'whether the bucket exists', FIRST),
];
/** One command and its answer. */
const COMMAND = [
  need('ssm:SendCommand', 'what is done on the instance'),
  need('ssm:GetCommandInvocation', 'its answer'),
];
const PUT = 'what the store lacks: packs, records, the runtime';
const TRAVEL = [
  need('s3:PutObject', PUT, 'the store lacks something'),
  need('s3:GetObject', 'which packs exist; signs the URLs that the instance downloads from', 'something is to be sent'),
  need('s3:DeleteObject', 'plans, archives and edits are removed after use', 'there was one'),
  need('s3:AbortMultipartUpload', 'an archive that was interrupted', 'it was'),
];
const SYNC = [...WHO, ...COMMAND, ...TRAVEL];
const CUT = [
  need('ssm:ResumeSession', 'resumes the session', 'the connection was cut'),
  need('ssm:TerminateSession', 'ends the session', 'it is still open'),
];
const SESSION = [need('ssm:StartSession', 'the live log', 'the run is active, and sessions are allowed'), ...CUT];
/** What is read of runs. */
const LIST_RUNS = need(
  's3:ListBucket',
  'which runs there are; that what is not there is 404, not 403',
  'no run is named',
);
const READ_RUN = need('s3:GetObject', "the run's record, and what it leads to");
const ASK = where('the store does not show that the run has ended', COMMAND);
const GONE = need('ec2:DescribeInstances', 'whether its instance is still there', 'the run is not heard of');
const MINE = need('sts:GetCallerIdentity', "which runs are the caller's", FIRST);
const NOT_READ = 'this machine has not read it';
/** A run's record is believed where its signature is right. */
const VERIFY = need('ssm:GetParameter', "the store's secret, which verifies the records of runs", NOT_READ);
const SIGN = [
  need('ssm:GetParameter', "the store's secret, which signs the records of runs", NOT_READ),
  need('ssm:PutParameter', 'the same', 'the store has none yet'),
];
const START = [
  ...WHO,
  ...SIGN,
  ...where('not where "recovery" is fleet', COMMAND),
  need('s3:PutObject', `${PUT}; which run was started`),
  need('s3:GetObject', 'which run was started; its record, log and artifacts; signs for the instance'),
  ...TRAVEL.slice(2),
  need('ssm:GetParameter', 'secrets', '"secretsFrom" is client'),
  need('secretsmanager:GetSecretValue', 'secrets', '"secretsFrom" is client'),
];
const VERSION = 'there is a dataset with "cacheKey"';
const KEYED = where(VERSION, [
  need('s3:ListBucket', 'the version of its prefix'),
  need('s3:GetObject', 'the version of its object'),
]);

const MAKE = 'one is made';
/** What is asked before an instance is launched. */
const BEFORE = [
  need('ec2:DescribeInstanceTypes', 'processors, GPUs and architecture of the type', MAKE),
  need('ec2:DescribeInstanceTypeOfferings', 'in which zones there is the type', MAKE),
  need('ec2:DescribeImages', "the image's root volume", MAKE),
  need('ec2:DescribeSubnets', 'where it may be', MAKE),
  need('ssm:GetParameters', 'the image of a family', 'one is made of an image that is not named by its id'),
  need('ec2:DescribeSpotPriceHistory', 'its price', 'spot'),
  need('pricing:GetProducts', 'its price', 'on-demand'),
];
/** What making an instance takes. */
const LAUNCH = [
  ...BEFORE,
  need('ec2:DescribeInstances', 'whether one exists, and the state of the new one'),
  need('ec2:RunInstances', 'the instance', 'none exists'),
  need('ec2:StartInstances', 'the instance', 'it was stopped'),
  need('ec2:DescribeSpotInstanceRequests', 'requests of tries that were given up', 'spot'),
  need('ec2:CancelSpotInstanceRequests', 'the same', 'spot'),
  need('ec2:TerminateInstances', 'what was launched twice, or what a training left', 'it was'),
];
const DESCRIBED = where('the instance is described, and none is up', LAUNCH);
const FLEET = where('"recovery" is fleet', [
  need('ec2:CreateLaunchTemplate', 'what the fleet launches'),
  need('ec2:CreateFleet', 'the fleet'),
  need('ec2:DescribeTags', 'which one a run has'),
  need('ec2:DescribeFleets', 'how it is'),
  need('ec2:DescribeInstances', 'its instances'),
  need('ec2:DescribeFleetHistory', 'why it has none'),
  need('ec2:DescribeLaunchTemplates', 'whether the template is its own'),
  need('ec2:DeleteFleets', 'it is given up, or has ended'),
  need('ec2:DeleteLaunchTemplate', 'the same'),
  need('ec2:TerminateInstances', 'the same'),
]);
const STOP_FLEET = FLEET.filter(({ action }) => !/Create|History/.test(action));
/** The doctor asks all that a launch does, and launches nothing. */
const WOULD_LAUNCH = where('the instance is described', [
  ...BEFORE,
  need('ec2:RunInstances', 'whether it may: with DryRun'),
  need('servicequotas:GetServiceQuota', 'whether the quota has room'),
  need('servicequotas:GetAWSDefaultServiceQuota', 'the same, where the account has none of its own'),
]);

const LEFT = [
  need('sts:GetCallerIdentity', "what of it is one's own (needs no permission)"),
  need('ec2:DescribeInstances', 'which instances exist'),
  need('ec2:DescribeVolumes', 'volumes that were left'),
  need('ec2:DescribeSpotInstanceRequests', 'requests that are open'),
  need('ec2:DescribeFleets', 'fleets'),
  need('ec2:DescribeLaunchTemplates', "fleets' templates"),
];

const STATUS = [READ_RUN, VERIFY, LIST_RUNS, MINE, ...ASK, GONE];
const FOLLOW = [...STATUS, ...SESSION];

/** What is called by whom: executors by their name, verbs of the command with `nx-ec2` before it. */
export const NEEDS = {
  'remote-sync': SYNC,
  'remote-watch': [
    ...WHO,
    ...COMMAND,
    need('s3:PutObject', `${PUT}; edits`),
    need('s3:GetObject', 'acknowledgements; signs for the instance'),
    ...TRAVEL.slice(2),
    need('s3:ListBucket', 'what is left of a watch', 'it ends'),
  ],
  'remote-train': [...START, ...SESSION, ...KEYED, ...DESCRIBED, ...FLEET],
  'remote-submit': [...START, ...KEYED, ...DESCRIBED, ...FLEET],
  'remote-logs': FOLLOW,
  'remote-status': STATUS,
  'remote-cancel': [
    ...[READ_RUN, VERIFY, LIST_RUNS, MINE, ...where('an instance has the run', COMMAND), GONE],
    ...[
      need('s3:PutObject', 'a request that the run of a fleet does not resume', '"recovery" is fleet'),
      ...STOP_FLEET,
    ],
  ],
  'remote-pull': [READ_RUN, VERIFY, LIST_RUNS, MINE],
  'remote-exec': [...WHO, ...where('--run', [VERIFY]), ...COMMAND, ...TRAVEL],
  'remote-shell': [...WHO, need('ssm:StartSession', 'the shell'), ...CUT],
  'remote-doctor': [
    need('s3:ListBucket', 'whether the bucket exists'),
    need('s3:PutObject', 'whether it may'),
    need('s3:GetObject', 'whether it may'),
    need('s3:DeleteObject', 'what it wrote'),
    ...SIGN,
    ...WHO,
    ...where('an instance is up', [...COMMAND, need('ssm:StartSession', 'whether it may')]),
    ...CUT,
    ...WOULD_LAUNCH,
  ],
  'remote-up': [
    MINE,
    need('ssm:DescribeInstanceInformation', 'whether Systems Manager reaches it'),
    need('ssm:SendCommand', 'what guards it'),
    need('ssm:GetCommandInvocation', 'its answer'),
    need('s3:GetObject', 'the state of its launch; signs URLs for the instance', MAKE),
    need('s3:PutObject', 'the same; the runtime', MAKE),
    ...LAUNCH,
  ],
  'remote-down': [
    need('ec2:DescribeInstances', 'which one'),
    need('ec2:DescribeSpotInstanceRequests', 'requests that are still open', 'it was made'),
    need('ec2:DescribeTags', 'fleets that wait for an instance', 'the instance is described'),
    need('s3:GetObject', 'the state of its launch; whether a run is active', 'it was made, or not with --force'),
    need('ec2:StopInstances', 'the instance', '--stop'),
    need('ec2:DescribeVolumes', 'disks that still cost money', '--stop'),
    need('pricing:GetProducts', 'what they cost', '--stop'),
    need('ec2:TerminateInstances', 'the instance', 'not with --stop'),
    need('ec2:CancelSpotInstanceRequests', 'requests', 'spot'),
    need('s3:ListBucket', 'whether a run is active', 'not with --force'),
    VERIFY,
    need('s3:PutObject', 'a request that the run of a fleet does not resume', '"recovery" is fleet'),
    ...STOP_FLEET,
    MINE,
  ],
  'nx-ec2 cache-key': KEYED,
  'nx-ec2 runs diff': [READ_RUN, VERIFY],
  'nx-ec2 runs checkout': [READ_RUN, VERIFY],
  'nx-ec2 runs': FOLLOW,
  'nx-ec2 store prune': [
    need('s3:ListBucket', 'which objects exist'),
    need('s3:GetObject', 'what of it is needed'),
    VERIFY,
    need('s3:PutObject', 'indexes', '--apply'),
    need('s3:DeleteObject', 'what is not needed', '--apply'),
  ],
  'nx-ec2 instances list': LEFT,
  'nx-ec2 instances clean': [
    ...LEFT,
    ...where('a bucket is named, and something has a run', [
      need('s3:GetObject', 'how its run ended'),
      VERIFY,
      need('s3:ListBucket', 'that what is not there is 404, not 403'),
    ]),
    ...where('an instance is within its lifetime, and its run has ended', [
      ...COMMAND,
      need('s3:PutObject', 'the runtime'),
    ]),
    ...where('--apply, and there is one', [
      need('ec2:TerminateInstances', 'instances'),
      need('ec2:DeleteVolume', 'volumes'),
      need('ec2:CancelSpotInstanceRequests', 'requests'),
      need('ec2:DeleteFleets', 'fleets'),
      need('ec2:DeleteLaunchTemplate', "fleets' templates"),
    ]),
  ],
  /** The instances' role. */
  instance: [
    need('s3:PutObject', "a run's record, log, metrics, artifacts, checkpoints"),
    need('s3:GetObject', 'resuming; datasets', 'a run is resumed, has datasets, or starts without a client'),
    need('s3:ListBucket', 'datasets; checkpoints', 'a run is resumed, or has datasets'),
    need('ssm:GetParameter', '"secrets"', 'a run has some'),
    need('secretsmanager:GetSecretValue', '"secrets"', 'a run has some'),
    need('ec2:DescribeTags', 'which fleet it is of', '"recovery" is fleet'),
    need('ec2:DeleteFleets', 'the fleet that it is of, at the end', '"recovery" is fleet'),
    need('ec2:DeleteLaunchTemplate', "the fleet's template", '"recovery" is fleet'),
  ],
  /** What looks after instances from outside: aws-setup --deadline. */
  deadline: [
    need('ec2:DescribeInstances', 'which instances exist'),
    need('ec2:DescribeFleets', 'which fleets exist'),
    need('ec2:TerminateInstances', 'one that is past its time', 'there is one'),
    need('ec2:StopInstances', 'one that would have stopped itself', 'there is one'),
    need('ec2:DeleteFleets', 'one that is past its time', 'there is one'),
  ],
} satisfies Record<string, Need[]>;

export type Who = keyof typeof NEEDS;
