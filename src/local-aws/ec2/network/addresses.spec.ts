import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  DescribeInstancesCommand,
  DescribeSubnetsCommand,
  RunInstancesCommand,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import { DescribeInstanceInformationCommand } from '@aws-sdk/client-ssm';
import { metadata, refusal, startFixture, type Fixture } from '../../local-aws.fixture';
import { commandsOf } from '../../ssm/commands.fixture';

const SUBNET = 'subnet-0000000000000000b';

async function run(at: Fixture, count = 1) {
  const command = new RunInstancesCommand({
    ImageId: 'ami-00000000000000001',
    SubnetId: SUBNET,
    IamInstanceProfile: { Name: 'training' },
    MinCount: count,
    MaxCount: count,
  });
  return (await at.ec2.send(command)).Instances!;
}

async function addressesOf(at: Fixture, ids: string[]) {
  const { Reservations } = await at.ec2.send(new DescribeInstancesCommand({ InstanceIds: ids }));
  return Reservations!.flatMap(({ Instances }) => Instances!.map(({ PrivateIpAddress }) => PrivateIpAddress));
}

async function freeAddresses(at: Fixture): Promise<number> {
  const { Subnets } = await at.ec2.send(new DescribeSubnetsCommand({ SubnetIds: [SUBNET] }));
  return Subnets![0].AvailableIpAddressCount!;
}

/** Whether an address is in the range of a subnet, and not one of those that AWS reserves. */
function isIn(cidr: string, address: string): boolean {
  const number = (text: string) => text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  const [base, bits] = cidr.split('/');
  const [offset, size] = [number(address) - number(base), 2 ** (32 - Number(bits))];
  return offset >= 4 && offset < size - 1;
}

/** Accepts one connection on its private address, and prints who connected. */
const SERVE = `
import socket, sys
server = socket.create_server((sys.argv[1], 0))
print(server.getsockname()[1], flush=True)
print(server.accept()[1][0], flush=True)
`;

const CONNECT = `
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), 10, (sys.argv[3], 0)).close()
`;

describe('the private address of an instance', () => {
  let at: Fixture;
  beforeEach(async () => {
    at = await startFixture({ instances: [] });
  });
  afterEach(() => at.close());

  it('is its own, of its subnet, and the same in all that tells it', async () => {
    const instances = await run(at, 8);
    const ids = instances.map(({ InstanceId }) => InstanceId!);
    const addresses = instances.map(({ PrivateIpAddress }) => PrivateIpAddress!);
    expect(new Set(addresses).size).toBe(8);
    const { Subnets } = await at.ec2.send(new DescribeSubnetsCommand({ SubnetIds: [SUBNET] }));
    expect(addresses.filter((each) => !isIn(Subnets![0].CidrBlock!, each))).toEqual([]);
    expect(addresses).not.toContain('127.0.0.1');
    expect(await addressesOf(at, ids)).toEqual(addresses);
    expect(await Promise.all(ids.map((id) => metadata(at, id, 'local-ipv4')))).toEqual(addresses);
    const { InstanceInformationList } = await at.ssm.send(new DescribeInstanceInformationCommand({}));
    expect(InstanceInformationList!.map(({ IPAddress }) => IPAddress)).toEqual(addresses);
  });

  it('is kept by a stopped instance and over a restart, and given back by a terminated one', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-addresses-'));
    const first = await startFixture({ directory, instances: [] });
    expect(await freeAddresses(first)).toBe(4091);
    const instances = await run(first, 2);
    const ids = instances.map(({ InstanceId }) => InstanceId!);
    await first.ec2.send(new StopInstancesCommand({ InstanceIds: [ids[0]] }));
    await first.close();
    const second = await startFixture({ directory, instances: [] });
    expect(await addressesOf(second, ids)).toEqual(instances.map(({ PrivateIpAddress }) => PrivateIpAddress));
    expect(await freeAddresses(second)).toBe(4089);
    await second.ec2.send(new TerminateInstancesCommand({ InstanceIds: ids }));
    expect(await addressesOf(second, ids)).toEqual([undefined, undefined]);
    expect(await freeAddresses(second)).toBe(4091);
    await second.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it('launches no more instances than the subnet has free addresses', async () => {
    at.aws.capacity.add({ zone: 'eu-west-1b', code: 'InsufficientFreeAddressesInSubnet', instances: 3 });
    expect(await freeAddresses(at)).toBe(3);
    await run(at, 2);
    expect(await freeAddresses(at)).toBe(1);
    expect(await refusal(run(at, 2))).toBe('InsufficientFreeAddressesInSubnet 400');
    await run(at, 1);
  });

  // macOS has no loopback address but 127.0.0.1: see docs/reference/local-aws.md.
  if (process.platform === 'linux')
    it('can be bound by a process of the instance, and reached by another instance', async () => {
      const [one, other] = (await run(at, 2)).map(({ InstanceId, PrivateIpAddress }) => ({
        ...commandsOf(at, InstanceId),
        address: PrivateIpAddress!,
      }));
      const file = join(at.aws.instances.disk(one.box), 'out');
      const served = await one.run(`setsid python3 -c '${SERVE}' ${one.address} >${file} 2>&1 &
        until grep -q . ${file}; do sleep 0.02; done; head -n 1 ${file}`);
      const port = served.StandardOutputContent!.trim();
      const connected = await other.run(`python3 -c '${CONNECT}' ${one.address} ${port} ${other.address}`);
      expect(connected).toMatchObject({ Status: 'Success', StandardErrorContent: '' });
      const seen = await one.run(`until [ "$(wc -l <${file})" -ge 2 ]; do sleep 0.02; done; tail -n 1 ${file}`);
      expect(seen.StandardOutputContent!.trim()).toBe(other.address);
    });
});
