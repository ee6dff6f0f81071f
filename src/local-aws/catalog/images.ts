export interface Image {
  id: string;
  name: string;
  description: string;
  architecture: 'x86_64' | 'arm64';
  owner: string;
  ownerAlias?: 'amazon';
  rootDevice: string;
  /** GiB of its root volume. */
  size: number;
  snapshot: string;
  /** The public SSM parameters that name it. */
  parameters: string[];
}

const AMAZON = '137112412989';
const DEEP_LEARNING = '898082745236';
const CANONICAL = '099720109477';

/** The images of a region, as its public parameters name them. */
export const IMAGES: Image[] = [
  image({
    number: 1,
    name: 'al2023-ami-2023.6.20241010.0-kernel-6.1-x86_64',
    architecture: 'x86_64',
    owner: AMAZON,
    rootDevice: '/dev/xvda',
    size: 8,
    parameters: [
      '/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64',
      '/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-6.1-x86_64',
    ],
  }),
  image({
    number: 2,
    name: 'al2023-ami-2023.6.20241010.0-kernel-6.1-arm64',
    architecture: 'arm64',
    owner: AMAZON,
    rootDevice: '/dev/xvda',
    size: 8,
    parameters: [
      '/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64',
      '/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-6.1-arm64',
    ],
  }),
  image({
    number: 3,
    name: 'ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20240927',
    architecture: 'x86_64',
    owner: CANONICAL,
    rootDevice: '/dev/sda1',
    size: 8,
    parameters: ['/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id'],
  }),
  image({
    number: 4,
    name: 'ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-arm64-server-20240927',
    architecture: 'arm64',
    owner: CANONICAL,
    rootDevice: '/dev/sda1',
    size: 8,
    parameters: ['/aws/service/canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id'],
  }),
  image({
    number: 5,
    name: 'Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) 20241011',
    architecture: 'x86_64',
    owner: DEEP_LEARNING,
    rootDevice: '/dev/sda1',
    size: 65,
    parameters: ['/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id'],
  }),
  image({
    number: 6,
    name: 'Deep Learning ARM64 Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) 20241011',
    architecture: 'arm64',
    owner: DEEP_LEARNING,
    rootDevice: '/dev/sda1',
    size: 65,
    parameters: ['/aws/service/deeplearning/ami/arm64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id'],
  }),
  image({
    number: 7,
    name: 'ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20240927',
    architecture: 'x86_64',
    owner: CANONICAL,
    rootDevice: '/dev/sda1',
    size: 8,
    parameters: ['/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id'],
  }),
  image({
    number: 8,
    name: 'ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-arm64-server-20240927',
    architecture: 'arm64',
    owner: CANONICAL,
    rootDevice: '/dev/sda1',
    size: 8,
    parameters: ['/aws/service/canonical/ubuntu/server/22.04/stable/current/arm64/hvm/ebs-gp2/ami-id'],
  }),
];

export function findImage(id: string): Image | undefined {
  return IMAGES.find((each) => each.id === id);
}

/** What a public parameter's value is: the id of an image. */
export function imageParameter(name: string): string | undefined {
  return IMAGES.find(({ parameters }) => parameters.includes(name))?.id;
}

/** The image of an instance without a chosen one. */
export const DEFAULT_IMAGE = IMAGES[0];

function image({
  number,
  ...given
}: Pick<Image, 'name' | 'architecture' | 'owner' | 'rootDevice' | 'size' | 'parameters'> & { number: number }): Image {
  const hex = number.toString(16).padStart(17, '0');
  return {
    ...given,
    id: `ami-${hex}`,
    description: given.name,
    ownerAlias: given.owner === CANONICAL ? undefined : 'amazon',
    snapshot: `snap-${hex}`,
  };
}
