import { EC2InstanceConnectClient, SendSSHPublicKeyCommand } from '@aws-sdk/client-ec2-instance-connect';
import { StopInstancesCommand } from '@aws-sdk/client-ec2';
import { refusal, startFixture, type Fixture } from '../local-aws.fixture';
import { until } from '../../system/until.fixture';

const KEY = `ssh-ed25519 ${'A'.repeat(68)} laptop`;

describe('EC2 Instance Connect', () => {
  let at: Fixture;
  let client: EC2InstanceConnectClient;
  let box: string;
  beforeEach(async () => {
    at = await startFixture({ instances: ['box', 'other'], sshKeyLifetime: 1_500 });
    client = new EC2InstanceConnectClient(at.clientOptions);
    box = at.aws.named.get('box')!.id;
  });
  afterEach(async () => {
    client.destroy();
    await at.close();
  });

  const push = (input: Partial<SendSSHPublicKeyCommand['input']> = {}) =>
    client.send(
      new SendSSHPublicKeyCommand({ InstanceId: box, InstanceOSUser: 'ubuntu', SSHPublicKey: KEY, ...input }),
    );
  const keys = async (user: string, instance = box) => {
    const url = `${at.aws.instances.metadataUrl(instance)}/latest`;
    const token = await fetch(`${url}/api/token`, {
      method: 'PUT',
      headers: { 'x-aws-ec2-metadata-token-ttl-seconds': '60' },
    });
    const answer = await fetch(`${url}/meta-data/managed-ssh-keys/active-keys/${user}/`, {
      headers: { 'x-aws-ec2-metadata-token': await token.text() },
    });
    return answer.ok ? answer.text() : answer.status;
  };

  it('gives a key to one user of one instance, for a limited time', async () => {
    expect(await keys('ubuntu')).toBe(404);
    expect(await push({ AvailabilityZone: at.aws.instances.get(box)!.zone })).toMatchObject({ Success: true });
    expect(await keys('ubuntu')).toBe(`${KEY}\n`);
    expect([await keys('root'), await keys('ubuntu', at.aws.named.get('other')!.id)]).toEqual([404, 404]);
    await until(async () => (await keys('ubuntu')) === 404);
  });

  it('refuses what the service refuses', async () => {
    expect(await refusal(push({ InstanceId: 'i-0123456789abcdef0' }))).toBe('EC2InstanceNotFoundException 400');
    expect(await refusal(push({ AvailabilityZone: 'eu-west-1z' }))).toBe('EC2InstanceNotFoundException 400');
    for (const wrong of [
      { InstanceId: 'mi-0123456789abcdef0' },
      { InstanceOSUser: 'a b' },
      { SSHPublicKey: 'ssh-dss AAAA' },
      { SSHPublicKey: `${KEY}\nssh-ed25519 BBBB` },
      { AvailabilityZone: 'eu' },
    ])
      expect(await refusal(push(wrong))).toBe('InvalidArgsException 400');
    await at.ec2.send(new StopInstancesCommand({ InstanceIds: [box] }));
    expect(await refusal(push())).toBe('EC2InstanceStateInvalidException 400');
  });
});
