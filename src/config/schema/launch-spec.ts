import ms from 'ms';
import { z } from 'zod';
import { duration, size } from '../syntax/units';

const text = z.string().min(1);
const typeName = z.string().regex(/^[a-z][a-z0-9-]*\.[a-z0-9-]+$/, 'must be an instance type, e.g. "g5.xlarge"');
const subnet = z.string().regex(/^subnet-[0-9a-f]{8,17}$/, 'must look like subnet-0123456789abcdef0');

/** What happens to an instance after its training. */
const finish = z
  .string()
  .regex(/^(terminate|stop|keep|keep \d+(\.\d+)?\s*[a-z]+)$/, 'must be "terminate", "stop", "keep", or "keep 30m"');

export const MAX_POOL_SIZE = 64;
const IDLE_TIMEOUT_MS = 3_600_000;
/** A pool may have many members, and launches them again when they are needed. */
const POOL_IDLE_TIMEOUT_MS = 900_000;

/** An instance that is made when it is needed. */
export const launchSpecSchema = z.strictObject({
  type: z
    .union([typeName, z.array(typeName).min(1).max(20)])
    .optional()
    .describe('Instance type, or several that are tried in order: each in all its zones, then the next.'),
  pool: z
    .string()
    .regex(/^[a-z0-9-]{1,32}$/, 'must be 1 to 32 of a-z, 0-9 and -')
    .optional()
    .describe(
      'Name of a pool of such instances: a training runs on a member that has room, else on a new one if there are fewer than "size", else it waits on a member. Projects of one workspace and caller that name the same pool, with the same launch spec, share its members.',
    ),
  size: z
    .int()
    .min(1)
    .max(MAX_POOL_SIZE)
    .optional()
    .describe('With "pool": the number of its members, at most. Default: 1.'),
  ami: text
    .default('auto')
    .describe(
      'An image id, a family (al2023, ubuntu-24.04, ubuntu-22.04, deep-learning), or a public SSM parameter. auto: deep-learning where the type has NVIDIA GPUs, else al2023.',
    ),
  spot: z
    .union([z.boolean(), z.literal('or-on-demand')])
    .default(false)
    .describe('Use spot capacity: true, or "or-on-demand" to use on-demand capacity if there is no spot capacity.'),
  volumeSize: size
    .optional()
    .describe("Size of the root volume (gp3, encrypted). Default: 50 GB, or the image's own size if that is larger."),
  subnet: z
    .union([subnet, z.array(subnet).min(1).max(20)])
    .optional()
    .describe("Subnet, or several (one for each zone to try). Default: those of the region's default VPC."),
  securityGroups: z
    .array(z.string().regex(/^sg-[0-9a-f]{8,17}$/, 'must look like sg-0123456789abcdef0'))
    .min(1)
    .max(5)
    .optional()
    .describe(
      "Security groups. One instance needs no inbound rule; the nodes of a run need a group that allows all ports from itself. Default: the VPC's default group.",
    ),
  instanceProfile: text
    .optional()
    .describe(
      'Instance profile, by name or ARN: its role gives the SSM agent and the runtime their permissions; `nx g nx-ec2:aws-setup` creates one.',
    ),
  publicIp: z
    .boolean()
    .default(false)
    .describe('Give the instance a public address. Needed if the subnet has no other route to AWS.'),
  placement: z
    .enum(['cluster', 'none'])
    .optional()
    .describe(
      'Where the nodes of a run on several instances are placed. cluster: in a cluster placement group, close to each other, and nowhere else; none: anywhere in the zone. Default: in a cluster placement group if the type, the permissions and the capacity allow it, else anywhere in the zone.',
    ),
  network: z
    .literal('efa')
    .optional()
    .describe(
      'efa: launch with Elastic Fabric Adapters, on each network card of the type. Only for types that have them, with an image that has the driver. Default: the ordinary network.',
    ),
  capacityReservation: z
    .string()
    .regex(/^cr-[0-9a-f]{8,17}$/, 'must look like cr-0123456789abcdef0')
    .optional()
    .describe('Launch into this On-Demand Capacity Reservation or Capacity Block, in its zone, and nowhere else.'),
  tags: z
    .record(z.string().min(1).max(128), z.string().max(256))
    .default({})
    .describe('Additional tags of the instance and its volumes.'),
  userData: z
    .string()
    .max(12_000)
    .optional()
    .describe(
      'A script (#!…) or cloud-config (#cloud-config) for the first boot, as text. At least 1 KiB of it is taken, compressed; without recovery "fleet", about 6 KiB.',
    ),
  maxLifetime: duration
    .prefault('24h')
    .describe(
      'Maximum time from the launch (or start) until the instance shuts itself down; with recovery, over all instances of a run.',
    ),
  idleTimeout: z
    .union([z.literal(false), duration])
    .optional()
    .describe(
      'The instance shuts itself down after this time without a run, a session, or load on GPU or CPU. Default: 1h; of a member of a pool, 15m.',
    ),
  maxCost: z
    .number()
    .positive()
    .optional()
    .describe('Cost limit, USD: shortens the lifetime, by the price at the launch. Default: none.'),
  onFinish: z
    .strictObject({
      success: finish.default('terminate').describe('After a run that succeeded.'),
      failure: finish.default('keep 30m').describe('After a run that failed, or whose results could not all be saved.'),
    })
    .prefault({})
    .describe(
      'What happens to the instance after the run that it was launched for: terminate, stop, keep (until another shutdown rule applies), or for example "keep 30m". A member of a pool is always kept.',
    ),
  recovery: z
    .enum(['client', 'fleet', 'none'])
    .optional()
    .describe(
      'Who resumes a run whose spot instance was interrupted: client (remote-train, while it follows the run), fleet (an EC2 Fleet, without a client; not for a pool), or none. Default: client with spot, else none.',
    ),
  startupTimeout: duration.prefault('10m').describe('Time limit until Systems Manager reaches the instance.'),
});

/** Instances that several runs and projects share. */
export interface Pool {
  name: string;
  /** How many members it has at most. */
  size: number;
}

/** A validated launch spec. Durations are ms, sizes bytes. */
export interface LaunchSpec {
  types: string[];
  pool?: Pool;
  ami: string;
  spot: boolean | 'or-on-demand';
  volumeSize?: number;
  subnets?: string[];
  securityGroups?: string[];
  instanceProfile?: string;
  publicIp: boolean;
  /** Absent: `cluster` where that is possible. */
  placement?: 'cluster' | 'none';
  network?: 'efa';
  capacityReservation?: string;
  tags: Record<string, string>;
  userData?: string;
  maxLifetime: number;
  idleTimeout: number | false;
  maxCost?: number;
  /** What the instance does when it shuts itself down. */
  shutdown: 'terminate' | 'stop';
  /** How long, ms, the instance is kept after the training that it was launched for; undefined: until a shutdown rule applies. */
  onFinish: { success?: number; failure?: number };
  recovery: 'client' | 'fleet' | 'none';
}

/** A launch spec with a pool. */
export type PoolSpec = LaunchSpec & { pool: Pool };

type Written = z.output<typeof launchSpecSchema>;

/**
 * Resolves the defaults of a launch spec.
 * @returns the reason if it contradicts itself or is incomplete.
 */
export function resolveLaunchSpec(written: Written): LaunchSpec | { wrong: string; missing?: boolean } {
  const { type, subnet, spot, onFinish, recovery, maxLifetime, pool, size, idleTimeout, ...rest } = written;
  if (type === undefined) return { wrong: 'instance.type', missing: true };
  const wrongPool = poolFault(written);
  if (wrongPool !== null) return { wrong: wrongPool };
  const words = Object.values(onFinish);
  const stops = words.includes('stop');
  if (stops && spot)
    return {
      wrong:
        "instance.onFinish: a spot instance can't be stopped, only terminated (its request is a one-time request).",
    };
  if (stops && words.includes('terminate'))
    return {
      wrong:
        'instance.onFinish: "stop" and "terminate" exclude each other: how an instance shuts down is decided at its launch.',
    };
  if (recovery && recovery !== 'none' && !spot)
    return { wrong: `instance.recovery: "${recovery}" needs a spot instance: set "spot".` };
  if (recovery === 'fleet' && spot !== true)
    return { wrong: 'instance.recovery: "fleet" uses spot capacity only: "spot" must be true.' };
  if (recovery === 'fleet' && words.includes('keep'))
    return {
      wrong: 'instance.onFinish: a fleet is only kept for a limited time: write "terminate", or "keep 30m".',
    };
  if (rest.capacityReservation !== undefined && spot)
    return { wrong: 'instance.capacityReservation: a spot instance can\'t use reserved capacity: leave out "spot".' };
  if (rest.network === 'efa' && recovery === 'fleet')
    return { wrong: 'instance.network: "efa" is not for fleets: "recovery" must be "client" or "none".' };
  const kept = (word: string) =>
    word === 'keep' ? undefined : word.startsWith('keep ') ? ms(word.slice(5) as ms.StringValue) : 0;
  for (const word of words)
    if (word.startsWith('keep ') && !(kept(word)! > 0))
      return { wrong: `instance.onFinish: "${word}" has no duration above 0; write "keep 30m", for example.` };
  return {
    ...rest,
    types: [type].flat(),
    subnets: subnet === undefined ? undefined : [subnet].flat(),
    spot,
    ...(pool === undefined ? {} : { pool: { name: pool, size: size ?? 1 } }),
    idleTimeout: idleTimeout ?? (pool === undefined ? IDLE_TIMEOUT_MS : POOL_IDLE_TIMEOUT_MS),
    maxLifetime,
    shutdown: stops ? 'stop' : 'terminate',
    onFinish: { success: kept(onFinish.success), failure: kept(onFinish.failure) },
    recovery: recovery ?? (spot ? 'client' : 'none'),
  };
}

/** What does not go with a pool; null: nothing. */
function poolFault({ pool, size, recovery = 'none', onFinish, capacityReservation }: Written): string | null {
  if (pool === undefined)
    return size === undefined ? null : 'instance.size: it is the size of a pool: name one with "pool".';
  if (recovery === 'fleet')
    return 'instance.recovery: "fleet" replaces the instance of one run, and a member of a pool has several. Write "client": remote-train continues its run on another member.';
  const defaults = launchSpecSchema.shape.onFinish.parse(undefined);
  if (onFinish.success !== defaults.success || onFinish.failure !== defaults.failure)
    return 'instance.onFinish: a member of a pool stays for other runs after a run. Leave it out: "idleTimeout" ends it.';
  return capacityReservation === undefined
    ? null
    : 'instance.capacityReservation: a pool does not launch into a reservation.';
}
