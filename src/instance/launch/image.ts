import type { Aws } from '../../aws/clients';
import { awsCode, awsProblem } from '../../aws/reason';
import { sdk } from '../../aws/sdk';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import type { Architecture, MachineType } from './machine-type';

/** What an instance boots from. */
export interface Image {
  id: string;
  architecture: Architecture;
  /** The name by which the root volume is mapped. */
  rootDevice: string;
  /** GB of the root volume, at least. */
  size: number;
}

/** The families, with the public parameter that names the newest image (facts, "EC2"; Canonical's and AWS's pages). */
const FAMILIES: Record<string, (architecture: Architecture) => string> = {
  al2023: (architecture) => `/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${architecture}`,
  'ubuntu-24.04': (architecture) => ubuntu('24.04', architecture, 'gp3'),
  'ubuntu-22.04': (architecture) => ubuntu('22.04', architecture, 'gp2'),
  'deep-learning': (architecture) =>
    `/aws/service/deeplearning/ami/${architecture}/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id`,
};

/** NVIDIA's open kernel modules, which the deep-learning images hold, drive Turing and what came after it. */
const UNSUPPORTED_GPU = /^(K80|M60|P100|V100)\b/;

const PUBLIC = '/aws/service/';
/** GetParameters takes so many names. */
const MAX_NAMES = 10;

function ubuntu(release: string, architecture: Architecture, volume: string): string {
  const machine = architecture === 'x86_64' ? 'amd64' : 'arm64';
  return `/aws/service/canonical/ubuntu/server/${release}/stable/current/${machine}/hvm/ebs-${volume}/ami-id`;
}

/**
 * The image of each type, by the type's name.
 * @param ami an id, a family, `auto`, or a public parameter.
 * @throws Problem IMAGE where there is none, or it does not fit a type.
 */
export async function imagesOf(
  aws: Aws,
  ami: string,
  types: readonly MachineType[],
  signal?: AbortSignal,
): Promise<Map<string, Image>> {
  const sources = new Map(types.map((type) => [type.name, sourceOf(ami, type)]));
  const ids = await readParameters(
    aws,
    ami,
    [...sources.values()].filter((each) => each.startsWith('/')),
    signal,
  );
  const idOf = (type: MachineType) => ids.get(sources.get(type.name)!) ?? sources.get(type.name)!;
  const images = await describeImages(aws, ami, [...new Set(types.map(idOf))], signal);
  const unfit = types.filter((type) => !type.architectures.includes(images.get(idOf(type))!.architecture));
  if (unfit.length) {
    const { id, architecture } = images.get(idOf(unfit[0]))!;
    throw new Problem(
      'IMAGE',
      `The image ${id} is for ${architecture}, and ${unfit.map(({ name, architectures }) => `${name} is ${architectures.join(' or ')}`).join(', ')}.`,
      { next: `An image family fits every type: "ami" may be ${choices()}.` },
    );
  }
  return new Map(types.map((type) => [type.name, images.get(idOf(type))!]));
}

/** The family of an image; an image that is given otherwise is its own. */
export function familyOf(ami: string, { gpu }: Pick<MachineType, 'gpu'>): string {
  return ami === 'auto' ? (gpu ? 'deep-learning' : 'al2023') : ami;
}

/** An image's id, or the parameter that names it. */
function sourceOf(ami: string, { name, architectures, gpu }: MachineType): string {
  if (ami.startsWith('ami-') || ami.startsWith(PUBLIC)) return ami;
  const family = familyOf(ami, { gpu });
  if (!Object.hasOwn(FAMILIES, family))
    throw new Problem('IMAGE', `There is no image family "${sanitizeForTerminal(ami)}".`, {
      next: `It may be ${choices()}.`,
    });
  if (family === 'deep-learning' && gpu && UNSUPPORTED_GPU.test(gpu))
    throw new Problem(
      'IMAGE',
      `The deep-learning images have NVIDIA's open driver, which does not support the ${gpu} of ${name}.`,
      { next: 'Set "ami" to an image with the proprietary driver, or choose a type with a newer GPU (g4dn, g5, …).' },
    );
  return FAMILIES[family](architectures.includes('x86_64') ? 'x86_64' : 'arm64');
}

function choices(): string {
  return `auto, ${Object.keys(FAMILIES).join(', ')}, an image's id (ami-…), or a public parameter (${PUBLIC}…)`;
}

async function readParameters(
  aws: Aws,
  ami: string,
  all: readonly string[],
  abortSignal?: AbortSignal,
): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const names = [...new Set(all)];
  for (let from = 0; from < names.length; from += MAX_NAMES) {
    const some = names.slice(from, from + MAX_NAMES);
    const { GetParametersCommand } = sdk.ssm();
    const ssm = await aws.ssm();
    const { Parameters = [], InvalidParameters = [] } = await ssm
      .send(new GetParametersCommand({ Names: some }), { abortSignal })
      .catch((error: unknown) => {
        throw awsProblem(
          'IMAGE',
          `Could not look up the image ${sanitizeForTerminal(ami)} by ${some.join(', ')}.`,
          error,
        );
      });
    if (InvalidParameters.length)
      throw new Problem(
        'IMAGE',
        `The region ${await aws.region()} has no public parameter ${InvalidParameters.map(sanitizeForTerminal).join(', ')}.`,
        { next: `"ami" may be ${choices()}.` },
      );
    for (const { Name, Value = '' } of Parameters) {
      if (!/^ami-[0-9a-f]+$/.test(Value))
        throw new Problem(
          'IMAGE',
          `The parameter ${Name} does not hold an image id: ${sanitizeForTerminal(Value).slice(0, 100)}.`,
        );
      found.set(Name!, Value);
    }
  }
  return found;
}

async function describeImages(
  aws: Aws,
  ami: string,
  ids: string[],
  abortSignal?: AbortSignal,
): Promise<Map<string, Image>> {
  const { DescribeImagesCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const region = await aws.region();
  const next = `Each region has its own image ids. "ami" may be ${choices()}.`;
  const answer = await ec2
    .send(new DescribeImagesCommand({ ImageIds: ids }), { abortSignal })
    .catch((error: unknown) => {
      throw /^InvalidAMIID/.test(awsCode(error) ?? '')
        ? awsProblem('IMAGE', `There is no image ${ids.join(', ')} in ${region}.`, error, next)
        : awsProblem('IMAGE', `Could not look up the image ${sanitizeForTerminal(ami)}.`, error);
    });
  const images = new Map<string, Image>();
  for (const id of ids) {
    const found = answer.Images?.find(({ ImageId }) => ImageId === id);
    if (found?.State !== 'available') throw new Problem('IMAGE', `There is no image ${id} in ${region}.`, { next });
    const root = found.BlockDeviceMappings?.find(({ DeviceName }) => DeviceName === found.RootDeviceName);
    if (found.RootDeviceType !== 'ebs' || !found.RootDeviceName || found.Platform !== undefined)
      throw new Problem('IMAGE', `The image ${id} is not a Linux image with a root volume.`, { next });
    images.set(id, {
      id,
      architecture: found.Architecture as Architecture,
      rootDevice: found.RootDeviceName,
      size: root?.Ebs?.VolumeSize ?? 0,
    });
  }
  return images;
}
