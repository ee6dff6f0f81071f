import type { InstanceType } from '../../catalog/instance-types';
import { AwsError } from '../../protocol/aws-error';
import type { LaunchSpec } from '../request/launch-specification';

/**
 * The code and words with which EC2 refuses interfaces that a type can't have are not established.
 * @throws AwsError where the type can't have the interfaces of a launch.
 */
export function checkInterfaces({ interfaces = [], publicIp }: LaunchSpec, { name, network }: InstanceType): void {
  const { cards = 1, efa = 0 } = network;
  for (const { card, device, type } of interfaces) {
    if (!['interface', 'efa', 'efa-only'].includes(type))
      throw new AwsError('InvalidParameterValue', `Invalid value '${type}' for InterfaceType.`);
    if (card === 0 && device === 0 && type === 'efa-only')
      throw new AwsError('InvalidParameterCombination', 'An EFA-only interface can not be the primary interface.');
    const same = interfaces.filter((each) => each.card === card && each.device === device);
    if (same.length > 1)
      throw new AwsError(
        'InvalidParameterValue',
        `Each network interface requires a unique device index: ${device} of network card ${card}.`,
      );
    if (card >= cards)
      throw new AwsError('InvalidParameterValue', `The network card index ${card} is invalid for ${name}.`);
    if (interfaces.filter((each) => each.card === card).length > network.interfaces)
      throw new AwsError('AttachmentLimitExceeded', `Interface count exceeds the limit for ${name}`);
  }
  const wanted = interfaces.filter(({ type }) => type !== 'interface').length;
  if (wanted > efa)
    throw new AwsError('AttachmentLimitExceeded', `EFA interfaces count ${wanted} exceeds allowed limit for ${name}`);
  if (publicIp && interfaces.length > 1)
    throw new AwsError(
      'InvalidParameterCombination',
      'The associatePublicIPAddress parameter cannot be specified when launching with multiple network interfaces.',
    );
}
