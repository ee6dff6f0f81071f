import type { InstanceTypeInfo, NetworkInfo } from '@aws-sdk/client-ec2';
import type { Aws } from '../../aws/clients';
import { awsCode, awsProblem } from '../../aws/reason';
import { sdk } from '../../aws/sdk';

export type Architecture = 'x86_64' | 'arm64';

/** How many EFA interfaces a type may have, and how many interfaces of any kind on each of its network cards. */
export interface EfaSupport {
  interfaces: number;
  cards: number[];
}

/** What of an instance type matters for its image, network and place. */
export interface MachineType {
  name: string;
  architectures: Architecture[];
  /** The NVIDIA GPU that it has. */
  gpu: string | null;
  /** How many NVIDIA GPUs it has. */
  gpus: number;
  /** Whether instances of it can be in a cluster placement group. */
  clusters: boolean;
  /** null: it has no EFA. */
  efa: EfaSupport | null;
}

/**
 * The types that are named, in that order.
 * @throws Problem INSTANCE_TYPE where the region has none of that name: it says which it has.
 */
export async function machineTypes(
  aws: Aws,
  names: readonly string[],
  abortSignal?: AbortSignal,
): Promise<MachineType[]> {
  const { DescribeInstanceTypesCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  try {
    const { InstanceTypes = [] } = await ec2.send(
      new DescribeInstanceTypesCommand({ InstanceTypes: [...names] as never[] }),
      { abortSignal },
    );
    return names.map((name) => toType(InstanceTypes.find(({ InstanceType }) => InstanceType === name)!));
  } catch (error) {
    if (awsCode(error) !== 'InvalidInstanceType')
      throw awsProblem('INSTANCE_TYPE', `Could not look up the instance type ${names.join(', ')}.`, error);
    const wrong = names.filter((name) => (error as Error).message.includes(name));
    throw awsProblem(
      'INSTANCE_TYPE',
      `The region ${await aws.region()} has no instance type ${wrong.join(', ') || names.join(', ')}.`,
      error,
      await offered(aws, wrong[0] ?? names[0]),
    );
  }
}

function toType({
  InstanceType,
  ProcessorInfo,
  GpuInfo,
  PlacementGroupInfo,
  NetworkInfo,
}: InstanceTypeInfo): MachineType {
  const nvidia = (GpuInfo?.Gpus ?? []).filter(({ Manufacturer }) => Manufacturer === 'NVIDIA');
  return {
    name: InstanceType!,
    architectures: (ProcessorInfo?.SupportedArchitectures ?? []).filter(
      (each) => each === 'x86_64' || each === 'arm64',
    ) as Architecture[],
    gpu: nvidia[0]?.Name ?? null,
    gpus: nvidia.reduce((sum, { Count = 0 }) => sum + Count, 0),
    clusters: PlacementGroupInfo?.SupportedStrategies?.includes('cluster') ?? false,
    efa: efaOf(NetworkInfo),
  };
}

function efaOf({ EfaInfo, NetworkCards = [] }: NetworkInfo = {}): EfaSupport | null {
  const interfaces = EfaInfo?.MaximumEfaInterfaces ?? 0;
  if (!interfaces || !NetworkCards.length) return null;
  const cards = [...NetworkCards].sort((one, other) => one.NetworkCardIndex! - other.NetworkCardIndex!);
  return { interfaces, cards: cards.map(({ MaximumNetworkInterfaces }) => MaximumNetworkInterfaces ?? 1) };
}

/** What of the same family, else of the same letter, there is. */
async function offered(aws: Aws, name: string): Promise<string | undefined> {
  const { DescribeInstanceTypeOfferingsCommand } = sdk.ec2();
  const ask = async (pattern: string) => {
    const ec2 = await aws.ec2();
    const { InstanceTypeOfferings = [] } = await ec2.send(
      new DescribeInstanceTypeOfferingsCommand({ Filters: [{ Name: 'instance-type', Values: [pattern] }] }),
    );
    return InstanceTypeOfferings.map(({ InstanceType }) => InstanceType as string).sort();
  };
  try {
    const family = name.split('.')[0];
    const same = await ask(`${family}.*`);
    if (same.length) return `The types of ${family} there: ${same.join(', ')}.`;
    const families = new Set((await ask(`${name[0]}*`)).map((each) => each.split('.')[0]));
    return families.size ? `The families there: ${[...families].join(', ')}.` : undefined;
  } catch {
    // What is wrong is said without it.
    return undefined;
  }
}
