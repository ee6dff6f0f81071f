/** An action of AWS that something calls. */
export interface Need {
  /** e.g. `ssm:SendCommand`. */
  action: string;
  why: string;
  /** Absent: always. */
  when?: string;
}

const need = (action: string, why: string, when?: string): Need => ({ action, why, ...(when ? { when } : {}) });
/** These needs, in some cases only. */
const where = (when: string, needs: Need[]): Need[] => needs.map((each) => ({ ...each, when }));

const FIRST = 'on a machine that has never synced';

/** Who the caller is, and where the instance is: asked unless cached. */
const WHO = [
  need('sts:GetCallerIdentity', 'identify the caller, who has their own tree (needs no permission)', FIRST),
  need('ec2:DescribeInstances', 'find the instance', 'it is configured by name or tag, or does not respond'),
  need(
    'ssm:DescribeInstanceInformation',
    'check that Systems Manager reaches the instance',
    `${FIRST}, or it does not respond`,
  ),
  need('s3:ListBucket', 'check that the bucket exists', FIRST),
];
/** One command and its result. */
const COMMAND = [
  need('ssm:SendCommand', 'run a command on the instance'),
  need('ssm:GetCommandInvocation', 'read its result'),
];
const PUT = 'upload what the store lacks: packs, manifests, the runtime';
const TRAVEL = [
  need('s3:PutObject', PUT, 'the store lacks something'),
  need('s3:GetObject', 'check which packs exist; sign the URLs that the instance downloads from', 'content is sent'),
  need('s3:DeleteObject', 'delete plans, archives and edits after use', 'there was one'),
  need('s3:AbortMultipartUpload', 'abort the upload of an archive', 'it was interrupted'),
];
const SYNC = [...WHO, ...COMMAND, ...TRAVEL];
const CUT = [
  need('ssm:ResumeSession', 'resume the session', 'the connection was lost'),
  need('ssm:TerminateSession', 'end the session', 'it is still open'),
];
const SESSION = [
  need('ssm:StartSession', 'follow the live log', 'the run is active, and sessions are allowed'),
  ...CUT,
];
/** Reading runs. */
const LIST_RUNS = need('s3:ListBucket', 'list the runs; get 404 instead of 403 for missing objects', 'no run is named');
const READ_RUN = need('s3:GetObject', "read the run's record and the objects that it names");
const POLL_RUN = where('the store does not show that the run has ended', COMMAND);
const GONE = need('ec2:DescribeInstances', 'check that its instance exists', 'the run sends no heartbeat');
const MINE = need('sts:GetCallerIdentity', "find the caller's own runs", FIRST);
const NOT_READ = 'this machine has not cached it';
/** A run record is trusted if its signature is valid. */
const VERIFY = need('ssm:GetParameter', "read the store's secret, which verifies run records", NOT_READ);
const SIGN = [
  need('ssm:GetParameter', "read the store's secret, which signs run records", NOT_READ),
  need('ssm:PutParameter', 'create it', 'the store has none yet'),
];
/** Before a run on several instances that exist. */
const TOGETHER = [
  need('ec2:DescribeSecurityGroups', 'check that the nodes reach one another', 'a run on several nodes'),
  need('ec2:DescribeInstanceTypes', 'compare the GPUs of the nodes', 'the nodes are of several types'),
];
const START = [
  ...WHO,
  need('ec2:DescribeInstances', 'check that its instance exists', 'a run of the same training is active'),
  ...SIGN,
  ...where('unless "recovery" is fleet, or the fleet is late and has an instance', COMMAND),
  need('s3:PutObject', `${PUT}; record which run was started`),
  need('s3:GetObject', 'find the run that was started; read its record, log and artifacts; sign URLs for the instance'),
  ...TRAVEL.slice(2),
  need('ssm:GetParameter', 'read secrets', '"secretsFrom" is client'),
  need('secretsmanager:GetSecretValue', 'read secrets', '"secretsFrom" is client'),
  ...TOGETHER,
];
const VERSION = 'there is a dataset with "cacheKey"';
const KEYED = where(VERSION, [
  need('s3:ListBucket', 'find the version of its prefix'),
  need('s3:GetObject', 'find the version of its object'),
]);

const MAKE = 'an instance is launched';
/** Lookups before a launch. */
const BEFORE = [
  need('ec2:DescribeInstanceTypes', 'look up processors, GPUs and architecture of the type', MAKE),
  need('ec2:DescribeInstanceTypeOfferings', 'look up the zones that offer the type', MAKE),
  need('ec2:DescribeImages', "look up the image's root volume", MAKE),
  need('ec2:DescribeSubnets', 'choose the subnet', MAKE),
  need(
    'ssm:GetParameters',
    'find the image of a family',
    'an instance is launched from an image that is not given by its id',
  ),
  need('ec2:DescribeSecurityGroups', 'check that the nodes reach one another', 'a run on several nodes'),
  need('ec2:DescribeCapacityReservations', 'check that it has room', '"capacityReservation" is set'),
  need('ec2:DescribeSpotPriceHistory', 'look up its price', 'spot'),
  need('pricing:GetProducts', 'look up its price', 'on-demand'),
];
const SEVERAL = 'a run on several nodes';
const UNUSED_GROUPS = where(SEVERAL, [
  need('ec2:DescribePlacementGroups', 'find placement groups without an instance'),
  need('ec2:DeletePlacementGroup', 'delete them'),
]);
/** What launching an instance needs. */
const LAUNCH = [
  ...BEFORE,
  need('ec2:CreatePlacementGroup', 'place the nodes close to each other', `${SEVERAL}, unless "placement" is none`),
  ...UNUSED_GROUPS,
  need('ec2:DescribeInstances', 'check whether one exists; follow the state of the new one'),
  need('ec2:RunInstances', 'launch the instance', 'none exists'),
  need('ec2:StartInstances', 'start the instance', 'it was stopped'),
  need(
    'ec2:DescribeSpotInstanceRequests',
    'find requests of abandoned launch attempts; see which nodes or members of a pool are about to be taken away',
    'spot',
  ),
  need('ec2:CancelSpotInstanceRequests', 'cancel them', 'spot'),
  need('ec2:TerminateInstances', 'terminate duplicates, and instances that no training uses', 'there are any'),
];
const DESCRIBED = where('"instance" is a launch spec, and none is running', LAUNCH);
const FLEET = where('"recovery" is fleet', [
  need('ec2:CreateLaunchTemplate', 'define what the fleet launches'),
  need('ec2:CreateFleet', 'create the fleet'),
  need('ec2:DescribeTags', 'find the fleet of a run'),
  need('ec2:DescribeFleets', 'read its state'),
  need('ec2:DescribeInstances', 'list its instances'),
  need('ec2:DescribeFleetHistory', 'find out why it has none'),
  need('ec2:DescribeLaunchTemplates', 'check that the template is its own'),
  need('ec2:DeleteFleets', 'delete it when it is given up or its run has ended'),
  need('ec2:DeleteLaunchTemplate', 'delete its launch template'),
  need('ec2:TerminateInstances', 'terminate its instances'),
]);
const STOP_FLEET = FLEET.filter(({ action }) => !/Create|History/.test(action));
/** The doctor asks the same as a launch, and launches nothing. */
const WOULD_LAUNCH = where('"instance" is a launch spec', [
  ...BEFORE,
  need('ec2:RunInstances', 'check the permission to launch (DryRun)'),
  need('ec2:CreatePlacementGroup', 'check the permission (DryRun)'),
  need('servicequotas:GetServiceQuota', 'check the quota'),
  need('servicequotas:GetAWSDefaultServiceQuota', 'the same, if the account has no quota of its own'),
]);

const LEFT = [
  need('sts:GetCallerIdentity', 'tell your own resources from those of others (needs no permission)'),
  need('ec2:DescribeInstances', 'list instances'),
  need('ec2:DescribeVolumes', 'list volumes without an instance'),
  need('ec2:DescribeSpotInstanceRequests', 'list open spot requests'),
  need('ec2:DescribeFleets', 'list fleets'),
  need('ec2:DescribeLaunchTemplates', "list the fleets' launch templates"),
  need('ec2:DescribePlacementGroups', 'list placement groups'),
];

const STATUS = [READ_RUN, VERIFY, LIST_RUNS, MINE, ...POLL_RUN, GONE];
const FOLLOW = [...STATUS, ...SESSION];

const PORTS = [
  ...WHO,
  ...where('--run, or "instance" is a launch spec', [READ_RUN, VERIFY, LIST_RUNS, MINE]),
  need('ssm:StartSession', 'open a session for each port, and for what is started'),
  ...CUT,
];

/** The actions that each executor and each command of `nx-ec2` calls. */
export const NEEDS = {
  'remote-sync': SYNC,
  'remote-watch': [
    ...WHO,
    ...COMMAND,
    need('s3:PutObject', `${PUT}; upload edits`),
    need('s3:GetObject', 'read acknowledgements; sign URLs for the instance'),
    ...TRAVEL.slice(2),
    need('s3:ListBucket', 'find remaining objects of the watch', 'the watch ends'),
  ],
  'remote-train': [...START, ...SESSION, ...KEYED, ...DESCRIBED, ...FLEET],
  'remote-submit': [...START, ...KEYED, ...DESCRIBED, ...FLEET],
  'remote-logs': FOLLOW,
  'remote-status': STATUS,
  'remote-cancel': [
    ...[READ_RUN, VERIFY, LIST_RUNS, MINE, ...where('the run is on an instance', COMMAND), GONE],
    ...[need('s3:PutObject', 'record that the run of a fleet must not resume', '"recovery" is fleet'), ...STOP_FLEET],
  ],
  'remote-pull': [READ_RUN, VERIFY, LIST_RUNS, MINE],
  'remote-exec': [...WHO, ...where('--run', [VERIFY]), ...COMMAND, ...TRAVEL],
  'remote-shell': [...WHO, need('ssm:StartSession', 'open the shell'), ...CUT],
  'remote-forward': PORTS,
  'remote-tensorboard': PORTS,
  'remote-jupyter': PORTS,
  'remote-dashboard': PORTS,
  'remote-ssh-config': [
    ...WHO,
    ...where('--run, or "instance" is a launch spec', [READ_RUN, VERIFY, LIST_RUNS, MINE]),
    ...COMMAND,
  ],
  'nx-ec2 ssh-proxy': [
    ...WHO,
    ...where('--run, or "instance" is a launch spec', [READ_RUN, VERIFY, LIST_RUNS, MINE]),
    ...where('its host keys are not known', COMMAND),
    need('ssm:StartSession', 'open a session to the SSH server'),
    need('ec2-instance-connect:SendSSHPublicKey', 'have the server accept the key of the host for 60 s'),
    ...CUT,
  ],
  'remote-doctor': [
    need('s3:ListBucket', 'check that the bucket exists'),
    need('s3:PutObject', 'check the permission'),
    need('s3:GetObject', 'check the permission'),
    need('s3:DeleteObject', 'delete its test objects'),
    ...SIGN,
    ...WHO,
    ...where('an instance is running', [...COMMAND, need('ssm:StartSession', 'check the permission')]),
    ...CUT,
    ...WOULD_LAUNCH,
  ],
  'remote-up': [
    MINE,
    need('ssm:DescribeInstanceInformation', 'check that Systems Manager reaches the instance'),
    need('ssm:SendCommand', 'check that its watchdog runs'),
    need('ssm:GetCommandInvocation', 'read the result'),
    need('s3:GetObject', 'read the launch state; sign URLs for the instance', MAKE),
    need('s3:PutObject', 'write the launch state; upload the runtime', MAKE),
    ...LAUNCH,
  ],
  'remote-down': [
    need('ec2:DescribeInstances', 'find the instance'),
    need('ec2:DescribeSpotInstanceRequests', 'find open spot requests', 'nx-ec2 launched it'),
    need('ec2:DescribeTags', 'find fleets that wait for an instance', '"instance" is a launch spec'),
    ...where('an instance is running, and --force is not given', COMMAND),
    need('s3:GetObject', 'read the launch state; check for active runs', 'nx-ec2 launched it, or --force is not given'),
    need('ec2:StopInstances', 'stop the instance', '--stop'),
    need('ec2:DescribeVolumes', 'find the disks that still cost money', '--stop'),
    need('pricing:GetProducts', 'look up their price', '--stop'),
    need('ec2:TerminateInstances', 'terminate the instance', 'without --stop'),
    need('ec2:CancelSpotInstanceRequests', 'cancel open spot requests', 'spot'),
    need('s3:ListBucket', 'check for active runs', 'without --force'),
    VERIFY,
    need('s3:PutObject', 'record that the run of a fleet must not resume', '"recovery" is fleet'),
    ...STOP_FLEET,
    ...UNUSED_GROUPS,
    MINE,
  ],
  'nx-ec2 cache-key': KEYED,
  'nx-ec2 runs diff': [READ_RUN, VERIFY],
  'nx-ec2 runs report': [READ_RUN, VERIFY],
  'nx-ec2 runs checkout': [READ_RUN, VERIFY],
  'nx-ec2 ui': [need('s3:ListBucket', 'list the projects and their runs'), READ_RUN, VERIFY, ...LEFT],
  'nx-ec2 runs': FOLLOW,
  'nx-ec2 store prune': [
    need('s3:ListBucket', 'list the objects'),
    need('s3:GetObject', 'find the reachable objects'),
    VERIFY,
    need('s3:PutObject', 'write indexes', '--apply'),
    need('s3:DeleteObject', 'delete unreachable objects', '--apply'),
  ],
  'nx-ec2 instances list': LEFT,
  'nx-ec2 instances clean': [
    ...LEFT,
    ...where('a bucket is configured, and a resource belongs to a run', [
      need('s3:GetObject', 'read how its run ended'),
      VERIFY,
      need('s3:ListBucket', 'get 404 instead of 403 for missing objects'),
    ]),
    ...where('an instance is within its lifetime, and its run has ended', [
      ...COMMAND,
      need('s3:PutObject', 'upload the runtime'),
    ]),
    ...where('--apply, and one has expired', [
      need('ec2:TerminateInstances', 'terminate instances'),
      need('ec2:DeleteVolume', 'delete volumes'),
      need('ec2:CancelSpotInstanceRequests', 'cancel spot requests'),
      need('ec2:DeleteFleets', 'delete fleets'),
      need('ec2:DeleteLaunchTemplate', "delete the fleets' launch templates"),
      need('ec2:DeletePlacementGroup', 'delete placement groups'),
    ]),
  ],
  /** The instances' role. */
  instance: [
    need('s3:PutObject', "save the run's record, log, metrics, artifacts and checkpoints"),
    need('s3:GetObject', 'resume; download datasets', 'the run is resumed, has datasets, or starts without a client'),
    need('s3:ListBucket', 'list datasets and checkpoints', 'the run is resumed, or has datasets'),
    need('ssm:GetParameter', 'read secrets', 'the run has "secrets"'),
    need('secretsmanager:GetSecretValue', 'read secrets', 'the run has "secrets"'),
    need('ec2:DescribeTags', 'find its fleet', '"recovery" is fleet'),
    need('ec2:DeleteFleets', 'delete its fleet after the run', '"recovery" is fleet'),
    need('ec2:DeleteLaunchTemplate', "delete the fleet's launch template", '"recovery" is fleet'),
  ],
  /** The automation that terminates expired instances: aws-setup --deadline. */
  deadline: [
    need('ec2:DescribeInstances', 'list instances'),
    need('ec2:DescribeFleets', 'list fleets'),
    need('ec2:TerminateInstances', 'terminate expired instances', 'there are any'),
    need('ec2:StopInstances', 'stop expired instances that stop instead of terminating', 'there are any'),
    need('ec2:DeleteFleets', 'delete expired fleets', 'there are any'),
  ],
} satisfies Record<string, Need[]>;

export type Who = keyof typeof NEEDS;
