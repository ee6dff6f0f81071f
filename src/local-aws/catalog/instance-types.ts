/** What an instance type can be connected by. */
export interface NetworkCards {
  /** Interfaces of each card. */
  interfaces: number;
  /** Absent: 1. */
  cards?: number;
  /** The most EFA interfaces; absent: it has no EFA. */
  efa?: number;
}

export interface InstanceType {
  name: string;
  cpus: number;
  /** MiB. */
  memory: number;
  architecture: 'x86_64' | 'arm64';
  /** USD an hour; made up, as on-demand prices are. */
  spotPrice: number;
  gpu?: { name: string; count: number; /** MiB of each. */ memory: number };
  /** Of the families t2, t3, t3a and t4g. */
  burstable?: boolean;
  network: NetworkCards;
  /** The letters of the zones that have it; absent: all. */
  zones?: string;
}

const T4 = { name: 'T4', memory: 16_384 };
const A10G = { name: 'A10G', memory: 24_576 };

export const INSTANCE_TYPES: InstanceType[] = [
  {
    name: 't3.micro',
    cpus: 2,
    memory: 1024,
    architecture: 'x86_64',
    spotPrice: 0.0036,
    network: { interfaces: 2 },
    burstable: true,
  },
  {
    name: 't3.medium',
    cpus: 2,
    memory: 4096,
    architecture: 'x86_64',
    spotPrice: 0.0143,
    network: { interfaces: 3 },
    burstable: true,
  },
  {
    name: 't4g.micro',
    cpus: 2,
    memory: 1024,
    architecture: 'arm64',
    spotPrice: 0.0029,
    network: { interfaces: 2 },
    burstable: true,
  },
  { name: 'm5.large', cpus: 2, memory: 8192, architecture: 'x86_64', spotPrice: 0.0394, network: { interfaces: 3 } },
  { name: 'm7g.large', cpus: 2, memory: 8192, architecture: 'arm64', spotPrice: 0.0361, network: { interfaces: 3 } },
  { name: 'c5.xlarge', cpus: 4, memory: 8192, architecture: 'x86_64', spotPrice: 0.0718, network: { interfaces: 4 } },
  { name: 'r5.xlarge', cpus: 4, memory: 32_768, architecture: 'x86_64', spotPrice: 0.0897, network: { interfaces: 4 } },
  {
    name: 'g4dn.xlarge',
    cpus: 4,
    memory: 16_384,
    architecture: 'x86_64',
    spotPrice: 0.1902,
    network: { interfaces: 3 },
    gpu: { ...T4, count: 1 },
  },
  {
    name: 'g4dn.12xlarge',
    cpus: 48,
    memory: 196_608,
    architecture: 'x86_64',
    spotPrice: 1.4317,
    network: { interfaces: 8, efa: 1 },
    gpu: { ...T4, count: 4 },
  },
  {
    name: 'g5.xlarge',
    cpus: 4,
    memory: 16_384,
    architecture: 'x86_64',
    spotPrice: 0.4463,
    network: { interfaces: 4 },
    gpu: { ...A10G, count: 1 },
    zones: 'ab',
  },
  {
    name: 'g5.12xlarge',
    cpus: 48,
    memory: 196_608,
    architecture: 'x86_64',
    spotPrice: 2.5391,
    network: { interfaces: 15, efa: 1 },
    gpu: { ...A10G, count: 4 },
    zones: 'ab',
  },
  {
    name: 'g5.8xlarge',
    cpus: 32,
    memory: 131_072,
    architecture: 'x86_64',
    spotPrice: 1.0958,
    network: { interfaces: 8, efa: 1 },
    gpu: { ...A10G, count: 1 },
    zones: 'ab',
  },
  {
    name: 'g6.8xlarge',
    cpus: 32,
    memory: 131_072,
    architecture: 'x86_64',
    spotPrice: 0.9021,
    network: { interfaces: 8, efa: 1 },
    gpu: { name: 'L4', count: 1, memory: 23_040 },
  },
  {
    name: 'g5g.xlarge',
    cpus: 4,
    memory: 8192,
    architecture: 'arm64',
    spotPrice: 0.2108,
    network: { interfaces: 4 },
    gpu: { name: 'T4g', count: 1, memory: 16_384 },
  },
  {
    name: 'p3.2xlarge',
    cpus: 8,
    memory: 62_464,
    architecture: 'x86_64',
    spotPrice: 1.0317,
    network: { interfaces: 4 },
    gpu: { name: 'V100', count: 1, memory: 16_384 },
  },
  {
    name: 'p4d.24xlarge',
    cpus: 96,
    memory: 1_179_648,
    architecture: 'x86_64',
    spotPrice: 11.5724,
    network: { interfaces: 15, cards: 4, efa: 4 },
    gpu: { name: 'A100', count: 8, memory: 40_960 },
    zones: 'b',
  },
  {
    name: 'p5.48xlarge',
    cpus: 192,
    memory: 2_097_152,
    architecture: 'x86_64',
    spotPrice: 19.6572,
    network: { interfaces: 2, cards: 32, efa: 32 },
    gpu: { name: 'H100', count: 8, memory: 81_920 },
    zones: 'c',
  },
];

/** USD an hour, of an instance that is not spot. */
export function onDemandPrice({ spotPrice }: InstanceType): number {
  return Math.round(spotPrice * 2.8 * 10_000) / 10_000;
}

/** USD for a GB of a gp3 volume, a month. */
export const VOLUME_PRICE = 0.088;

export function instanceType(name: string): InstanceType | undefined {
  return INSTANCE_TYPES.find((each) => each.name === name);
}
