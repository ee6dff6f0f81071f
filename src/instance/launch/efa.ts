import type { InstanceNetworkInterfaceSpecification } from '@aws-sdk/client-ec2';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { Problem } from '../../report/problem';
import { familyOf } from './image';
import type { EfaSupport, MachineType } from './machine-type';

/** Families whose images have no EFA driver. */
const WITHOUT_DRIVER = ['al2023', 'ubuntu-24.04', 'ubuntu-22.04'];

/** @throws Problem where `network` is `efa`, and a type has none, or can't have it together with the rest of the launch spec. */
export function assertEfa({ network, publicIp, ami, userData }: LaunchSpec, types: readonly MachineType[]): void {
  if (network !== 'efa') return;
  const without = types.filter(({ efa }) => efa === null).map(({ name }) => name);
  if (without.length)
    throw new Problem('EFA', `${without.join(', ')} has no Elastic Fabric Adapter (EFA).`, {
      next: "To list the types that have: aws ec2 describe-instance-types --filters Name=network-info.efa-supported,Values=true --query 'InstanceTypes[].InstanceType'",
      settings: ['instance.type', 'instance.network'],
    });
  const several = types.find(({ efa }) => efa && publicIp && efa.cards.length > 1);
  if (several)
    throw new Problem(
      'EFA',
      `${several.name} has ${several.efa!.cards.length} network cards: EC2 gives an instance with several network interfaces no public address.`,
      {
        next: 'Leave out "publicIp", and launch in a subnet with a NAT gateway or VPC endpoints: nx g nx-ec2:aws-setup --endpoints',
        settings: ['instance.publicIp', 'instance.network'],
      },
    );
  const bare = types.find((type) => WITHOUT_DRIVER.includes(familyOf(ami, type)));
  if (bare && userData === undefined)
    throw new Problem('EFA', `The ${familyOf(ami, bare)} image of ${bare.name} has no EFA driver.`, {
      next: 'Set "ami" to deep-learning or an image of your own, or install the driver (aws-efa-installer) in "userData".',
      settings: ['instance.ami', 'instance.network'],
    });
}

/**
 * The network interfaces of an instance with EFA, as AWS ParallelCluster and the EC2 user guide choose them: an EFA on
 * each network card that can have one, and one address. Only the combined interface (`efa`) has an address as well.
 */
export function efaInterfaces(
  { interfaces, cards }: EfaSupport,
  primary: Pick<InstanceNetworkInterfaceSpecification, 'SubnetId' | 'Groups'>,
  publicIp: boolean,
): InstanceNetworkInterfaceSpecification[] {
  const [first, ...others] = cards;
  // Of some types, the first card has none.
  const firstHasEfa = interfaces >= cards.length;
  const isCombined = firstHasEfa && (first < 2 || (publicIp && !others.length));
  const chosen = [
    { NetworkCardIndex: 0, DeviceIndex: 0, InterfaceType: isCombined ? 'efa' : 'interface' },
    ...(firstHasEfa && !isCombined ? [{ NetworkCardIndex: 0, DeviceIndex: 1, InterfaceType: 'efa-only' }] : []),
    ...others.map((most, n) => {
      return { NetworkCardIndex: n + 1, DeviceIndex: most === 1 ? 0 : 1, InterfaceType: 'efa-only' };
    }),
  ];
  // EC2 takes no word about a public address, not even that there is to be none, with several interfaces.
  const address = chosen.length === 1 ? { AssociatePublicIpAddress: publicIp } : {};
  return chosen.map((each) => ({ ...each, ...primary, ...address, DeleteOnTermination: true }));
}
