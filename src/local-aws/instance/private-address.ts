import { randomInt } from 'node:crypto';
import { SUBNET_ADDRESSES, subnetAddress, type Zone } from '../catalog/network';

/**
 * A random address of a subnet that is not taken: an address that was just given back would find what still connects to
 * the instance before.
 * @throws Error where all are taken.
 */
export function freeAddress(zone: Zone, taken: Set<string>): string {
  const start = randomInt(SUBNET_ADDRESSES);
  for (let step = 0; step < SUBNET_ADDRESSES; step++) {
    const address = subnetAddress(zone, (start + step) % SUBNET_ADDRESSES);
    if (!taken.has(address)) return address;
  }
  throw new Error(`All addresses of ${zone.cidr} are in use.`);
}
