import type { RunInstancesCommandInput, Tag, TagSpecification } from '@aws-sdk/client-ec2';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { Problem } from '../../report/problem';
import { formatDuration } from '../../report/units';
import { efaInterfaces } from './efa';
import type { Image } from './image';
import type { EfaSupport } from './machine-type';
import type { Reservation } from './reservation';
import { projectOf, TAG, tagText, type Owner } from '../describe/ownership';
import type { LaunchOption } from './launch-options';
import { dollars, type Price, priceTag } from '../price/price';
import { userData, type WatchdogConfig } from './user-data';

export const GB = 1024 ** 3;
/** The root volume's size where nothing is said, GB. */
export const DEFAULT_DISK_GB = 50;
/** An instance that was launched for a run which does not start there ends after this time, seconds, or after a shorter idle time. */
export const DEFAULT_START_SECONDS = 900;
/** Less than that is of no use, seconds. */
const MIN_LIFETIME_SECONDS = 60;

/** What an instance is launched for. */
export interface LaunchPurpose {
  owner: Owner;
  key: string;
  /** `<bucket>/<prefix>`. */
  store: string;
  /** Directory on the instance; null: its own default. */
  root: string | null;
  made: 'remote-up' | 'remote-train';
  /** Whether it ends if no run starts there, although it is not the run's own. */
  awaitsRun?: boolean;
  /** How many instances the launch spec means, which `maxCost` pays for; absent: one. */
  count?: number;
  /** How many of them this launch adds, at least and at most; absent: all. */
  missing?: { min: number; max: number };
  /** The placement group of an option that is in one. */
  group?: string;
  /** The network cards of the type, for `"network": "efa"`. */
  efa?: EfaSupport | null;
  reservation?: Pick<Reservation, 'id' | 'isBlock'> | null;
  run: string | null;
  /** ms since the epoch. */
  deadline: number | null;
  /** What starts its run with no command. */
  boot?: WatchdogConfig['boot'];
}

/**
 * How long an instance may live, seconds, and why no longer.
 * @param count of instances that `maxCost` pays for.
 * @throws Problem where `maxCost` buys nothing, or the price is not known.
 */
export function lifetimeOf(
  { maxLifetime, maxCost }: Pick<LaunchSpec, 'maxLifetime' | 'maxCost'>,
  price: Price | null,
  count = 1,
): Pick<WatchdogConfig, 'lifetime' | 'because'> {
  const lifetime = Math.floor(maxLifetime / 1000);
  if (maxCost === undefined) return { lifetime, because: 'lifetime' };
  if (!price)
    throw new Problem('PRICE_UNKNOWN', '"maxCost" is set, but the price of the instance is unknown.', {
      next: 'Set "pricePerHour" (USD), or allow pricing:GetProducts and ec2:DescribeSpotPriceHistory.',
    });
  const bought = Math.floor((maxCost / (price.perHour * count)) * 3600);
  if (bought < MIN_LIFETIME_SECONDS)
    throw new Problem(
      'MAX_COST',
      `"maxCost" of ${dollars(maxCost)} buys ${formatDuration(bought * 1000)} at ${times(count)}${dollars(price.perHour)} an hour.`,
      { next: 'Raise it, or choose a cheaper type.' },
    );
  return bought < lifetime ? { lifetime: bought, because: 'cost' } : { lifetime, because: 'lifetime' };
}

/** `4 x `: how many; of one, nothing. */
export function times(count: number): string {
  return count > 1 ? `${count} x ` : '';
}

/** The same for a launch: `2 to 4 x `. */
export function timesOf({
  MinCount = 1,
  MaxCount = 1,
}: Pick<RunInstancesCommandInput, 'MinCount' | 'MaxCount'>): string {
  return MinCount < MaxCount ? `${MinCount} to ${MaxCount} x ` : times(MaxCount);
}

/** What RunInstances is asked for, but for its token: all of it follows from what is given here. */
export function launchParameters(
  launchSpec: LaunchSpec,
  { type, subnet, market, placement }: LaunchOption,
  image: Image,
  price: Price | null,
  purpose: LaunchPurpose,
): RunInstancesCommandInput {
  const { instanceProfile: profile } = launchSpec;
  const watchdog = watchdogConfig(launchSpec, price, purpose);
  const tags = toTags(managedTags(launchSpec, purpose, price, watchdog));
  const kinds: TagSpecification['ResourceType'][] = ['instance', 'volume'];
  if (market === 'spot') kinds.push('spot-instances-request');
  return {
    ImageId: image.id,
    InstanceType: type as RunInstancesCommandInput['InstanceType'],
    // All or none, unless fewer are enough.
    MinCount: purpose.missing?.min ?? purpose.count ?? 1,
    MaxCount: purpose.missing?.max ?? purpose.count ?? 1,
    Placement: placement && { GroupName: purpose.group },
    CapacityReservationSpecification: purpose.reservation
      ? { CapacityReservationTarget: { CapacityReservationId: purpose.reservation.id } }
      : undefined,
    NetworkInterfaces: networkInterfaces(launchSpec, subnet, purpose.efa),
    BlockDeviceMappings: [
      {
        DeviceName: image.rootDevice,
        Ebs: {
          VolumeSize: diskSize(launchSpec, image),
          VolumeType: 'gp3',
          Encrypted: true,
          DeleteOnTermination: true,
        },
      },
    ],
    // One hop: what runs in a container without the host's network does not get the role.
    MetadataOptions: { HttpTokens: 'required', HttpPutResponseHopLimit: 1, HttpEndpoint: 'enabled' },
    InstanceInitiatedShutdownBehavior: launchSpec.shutdown,
    IamInstanceProfile: profile && (profile.startsWith('arn:') ? { Arn: profile } : { Name: profile }),
    UserData: userData(watchdog, launchSpec.userData).toString('base64'),
    InstanceMarketOptions: marketOptions(market, purpose.reservation?.isBlock),
    TagSpecifications: kinds.map((ResourceType) => ({ ResourceType, Tags: tags })),
  } as RunInstancesCommandInput;
}

function networkInterfaces(
  { network, securityGroups: Groups, publicIp }: LaunchSpec,
  SubnetId: string,
  efa: EfaSupport | null = null,
): RunInstancesCommandInput['NetworkInterfaces'] {
  if (network === 'efa' && efa) return efaInterfaces(efa, { SubnetId, Groups }, publicIp);
  return [{ DeviceIndex: 0, SubnetId, Groups, AssociatePublicIpAddress: publicIp, DeleteOnTermination: true }];
}

function marketOptions(
  market: LaunchOption['market'],
  isBlock = false,
): RunInstancesCommandInput['InstanceMarketOptions'] {
  if (isBlock) return { MarketType: 'capacity-block' };
  if (market !== 'spot') return undefined;
  return {
    MarketType: 'spot',
    SpotOptions: { SpotInstanceType: 'one-time', InstanceInterruptionBehavior: 'terminate' },
  };
}

/** The shutdown rules of the instance. */
function watchdogConfig(
  { idleTimeout, onFinish, shutdown, ...launchSpec }: LaunchSpec,
  price: Price | null,
  { root, deadline, boot, made, count, awaitsRun = false }: LaunchPurpose,
): WatchdogConfig {
  const seconds = (ms: number | undefined) => (ms === undefined ? null : Math.ceil(ms / 1000));
  const idle = idleTimeout === false ? null : seconds(idleTimeout);
  const trains = made === 'remote-train';
  return {
    v: 1,
    root,
    ...lifetimeOf(launchSpec, price, count),
    deadline,
    idle,
    start: trains || awaitsRun ? Math.min(DEFAULT_START_SECONDS, idle ?? DEFAULT_START_SECONDS) : null,
    finish: trains ? { success: seconds(onFinish.success), failure: seconds(onFinish.failure) } : null,
    shutdown,
    boot: boot ?? null,
  };
}

/** GB. @throws Problem where what is asked for is less than the image needs. */
function diskSize({ volumeSize }: LaunchSpec, { id, size }: Image): number {
  if (volumeSize === undefined) return Math.max(DEFAULT_DISK_GB, size);
  const wanted = Math.ceil(volumeSize / GB);
  if (wanted < size)
    throw new Problem('IMAGE', `"volumeSize" is ${wanted} GB, and the image ${id} needs ${size} GB.`, {
      next: 'Raise "volumeSize", or leave it out.',
    });
  return wanted;
}

/** docs/reference/formats.md, "Tags". */
function managedTags(
  { tags, shutdown }: LaunchSpec,
  { owner, key, store, made: launchedBy, run, deadline }: LaunchPurpose,
  price: Price | null,
  { lifetime, idle, finish }: Pick<WatchdogConfig, 'lifetime' | 'idle' | 'finish'>,
): Record<string, string> {
  const reserved = Object.keys(tags).find((name) => /^(nx-ec2:|aws:)/i.test(name));
  if (reserved !== undefined)
    throw new Problem('CONFIG_INVALID', `instance.tags: "${reserved}" can't be set.`, {
      next: 'Names that begin with nx-ec2: or aws: are reserved.',
    });
  return {
    Name: tagText(`nx-ec2 ${projectOf(owner)}`),
    ...tags,
    [TAG.managed]: 'true',
    [TAG.key]: key,
    [TAG.workspace]: tagText(owner.workspace),
    [TAG.project]: tagText(projectOf(owner)),
    [TAG.owner]: tagText(owner.caller),
    [TAG.store]: tagText(store),
    [TAG.by]: launchedBy,
    ...(run === null ? {} : { [TAG.run]: run }),
    ...(price ? { [TAG.price]: priceTag(price) } : {}),
    [TAG.lifetime]: String(lifetime),
    ...(idle === null ? {} : { [TAG.idle]: String(idle) }),
    ...(deadline === null ? {} : { [TAG.deadline]: String(deadline) }),
    [TAG.finish]: `${shutdown} ${finish?.success ?? '-'} ${finish?.failure ?? '-'}`,
  };
}

function toTags(tags: Record<string, string>): Tag[] {
  return Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));
}
