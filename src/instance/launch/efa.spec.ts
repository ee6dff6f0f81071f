import { AuthorizeSecurityGroupEgressCommand } from '@aws-sdk/client-ec2';
import { launchSpecSchema, resolveLaunchSpec } from '../../config/schema/launch-spec';
import { SECURITY_GROUP } from '../../local-aws/catalog/network';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { startPipeline } from '../../run/pipeline.fixture';
import { efaInterfaces } from './efa';
import { ensureInstances } from './ensure-instance';
import { Caller, CALLER, clear, launchSpecOf } from './ensure-instance.fixture';
import { authorize, from, makeGroup } from './security-groups.fixture';

describe('the network interfaces of an instance with EFA', () => {
  /** `card.device kind`, and `public` where it has a public address. */
  const chosen = (interfaces: number, cards: number[], publicIp = false) =>
    efaInterfaces({ interfaces, cards }, { SubnetId: 'subnet-1' }, publicIp).map(
      ({ NetworkCardIndex, DeviceIndex, InterfaceType, AssociatePublicIpAddress }) =>
        `${NetworkCardIndex}.${DeviceIndex} ${InterfaceType}${AssociatePublicIpAddress ? ' public' : ''}`,
    );

  it.each<[string, [number, number[], boolean?], string[]]>([
    ['one card', [1, [8]], ['0.0 interface', '0.1 efa-only']],
    ['one card, with a public address', [1, [8], true], ['0.0 efa public']],
    ['one card with more EFA interfaces', [2, [8]], ['0.0 interface', '0.1 efa-only']],
    ['one interface', [1, [1]], ['0.0 efa']],
    ['several cards', [3, [15, 15, 15]], ['0.0 interface', '0.1 efa-only', '1.1 efa-only', '2.1 efa-only']],
    ['cards with one interface', [3, [1, 1, 1]], ['0.0 efa', '1.0 efa-only', '2.0 efa-only']],
    ['a first card without EFA', [2, [2, 2, 1]], ['0.0 interface', '1.1 efa-only', '2.0 efa-only']],
  ])('are those of its network cards: %s', (_, given, expected) => {
    expect(chosen(...given)).toEqual(expected);
  });

  it('have a word about a public address only if there is one of them', () => {
    const of = (cards: number[]) => efaInterfaces({ interfaces: 1, cards }, {}, false);
    expect(of([1])[0].AssociatePublicIpAddress).toBe(false);
    expect(of([4]).map((each) => 'AssociatePublicIpAddress' in each)).toEqual([false, false]);
  });
});

describe('a launch with EFA', () => {
  let at: Fixture;
  let caller: Caller;
  beforeAll(async () => void (at = await startPipeline({ instances: [], boot: 3_600_000 })));
  afterAll(() => at.close());
  beforeEach(() => void (caller = new Caller({ workspace: 'w', project: 'efa', caller: CALLER })));
  afterEach(async () => {
    caller.aws.close();
    await clear(at);
  });

  const up = (written: object, count = 2) =>
    ensureInstances(caller.options(launchSpecOf({ type: 'g5.8xlarge', network: 'efa', ...written }), { count }));
  const refused = (written: object, count?: number) =>
    up(written, count).then(
      () => null,
      (error: Error) => error.message,
    );

  it('needs a group that names itself in both directions: the rule for 0.0.0.0/0 does not count', async () => {
    const message = await refused({});
    expect(message).toContain(
      `The nodes could not reach one another by EFA: no security group of theirs allows all protocols, by a rule that names itself, to itself: ${SECURITY_GROUP} (default).`,
    );
    expect(message).toContain(`aws ec2 authorize-security-group-egress --group-id ${SECURITY_GROUP}`);
    expect(message).not.toContain('ingress');
    const GroupId = await makeGroup(at);
    expect(await refused({ securityGroups: [GroupId] })).toMatch(/authorize-security-group-ingress.*\n.*-egress/);
    await authorize(at, GroupId, from(GroupId));
    await at.ec2.send(new AuthorizeSecurityGroupEgressCommand({ GroupId, IpPermissions: [from(GroupId)] }));
    expect(at.aws.left().instances).toEqual([]);
    expect(await up({ securityGroups: [GroupId] })).toHaveLength(2);
    expect(await up({ securityGroups: [GroupId], type: 'p5.48xlarge' })).toHaveLength(2);
  });

  it('is refused before anything is launched if the type, the address or the image does not allow it', async () => {
    expect(await refused({ type: ['g5.8xlarge', 'c5.xlarge'] })).toContain('c5.xlarge has no Elastic Fabric Adapter');
    expect(await refused({ type: 'p4d.24xlarge', publicIp: true })).toContain('p4d.24xlarge has 4 network cards');
    expect(await refused({ ami: 'ubuntu-24.04' })).toContain('The ubuntu-24.04 image of g5.8xlarge has no EFA driver.');
    expect(at.aws.left().instances).toEqual([]);
    expect(await up({ publicIp: true }, 1)).toHaveLength(1);
    expect(await up({ ami: 'ubuntu-24.04', userData: '#!/bin/sh\n./efa_installer.sh -y' }, 1)).toHaveLength(1);
    const fleet = { type: 'g5.8xlarge', network: 'efa', spot: true, recovery: 'fleet' };
    expect(resolveLaunchSpec(launchSpecSchema.parse(fleet))).toEqual({
      wrong: expect.stringContaining('not for fleets'),
    });
  });
});
