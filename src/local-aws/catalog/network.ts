import { createHash } from 'node:crypto';

/** The default VPC of a region: a subnet in each of its three zones, and one security group. */
export const VPC = 'vpc-00000000000000001';
export const SECURITY_GROUP = 'sg-00000000000000001';

/** AWS reserves the first four addresses of a subnet, and the last. */
const RESERVED_ADDRESSES = 4;
/** Of a subnet with 20 bits. */
export const SUBNET_ADDRESSES = 4096 - RESERVED_ADDRESSES - 1;

export interface Zone {
  name: string;
  id: string;
  subnet: string;
  cidr: string;
}

export interface Vpc {
  region: string;
  cidr: string;
  zones: Zone[];
}

/**
 * The addresses of the VPC are loopback addresses, which processes of an instance can bind. Each state directory has its
 * own: two servers on one machine do not use the same ones.
 */
export function defaultVpc(region: string, directory: string): Vpc {
  const prefix = `127.${1 + (createHash('sha256').update(directory).digest()[0] % 254)}`;
  const [area, direction, number] = region.split('-');
  const zones = ['a', 'b', 'c'].map((letter, index) => ({
    name: region + letter,
    id: `${area.slice(0, 2)}${direction[0]}${number}-az${index + 1}`,
    subnet: `subnet-0000000000000000${letter}`,
    cidr: `${prefix}.${index * 16}.0/20`,
  }));
  return { region, cidr: `${prefix}.0.0/16`, zones };
}

/** An address of a subnet by its number, from 0 to SUBNET_ADDRESSES - 1. */
export function subnetAddress({ cidr }: Zone, number: number): string {
  const [first, second, third] = cidr.split('.').map(Number);
  const offset = RESERVED_ADDRESSES + number;
  return [first, second, third + (offset >> 8), offset & 255].join('.');
}
