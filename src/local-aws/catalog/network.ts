/** The default VPC of a region: a subnet in each of its three zones, and one security group. */
export const VPC = 'vpc-00000000000000001';
export const SECURITY_GROUP = 'sg-00000000000000001';

export interface Zone {
  name: string;
  id: string;
  subnet: string;
  cidr: string;
}

export function zonesOf(region: string): Zone[] {
  const [area, direction, number] = region.split('-');
  return ['a', 'b', 'c'].map((letter, index) => ({
    name: region + letter,
    id: `${area.slice(0, 2)}${direction[0]}${number}-az${index + 1}`,
    subnet: `subnet-0000000000000000${letter}`,
    cidr: `172.31.${index * 16}.0/20`,
  }));
}
