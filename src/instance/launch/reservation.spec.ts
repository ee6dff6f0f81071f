import {
  CancelCapacityReservationCommand,
  CreateCapacityReservationCommand,
  DescribeCapacityBlockOfferingsCommand,
  PurchaseCapacityBlockCommand,
  type CreateCapacityReservationCommandInput,
} from '@aws-sdk/client-ec2';
import { launchSpecSchema, resolveLaunchSpec } from '../../config/schema/launch-spec';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { startPipeline } from '../../run/pipeline.fixture';
import { specHash } from '../describe/ownership';
import { ensureInstances, type EnsuredInstance } from './ensure-instance';
import { Caller, CALLER, clear, launchSpecOf } from './ensure-instance.fixture';
import { LaunchJournal } from './launch-journal';
import { assertRoom, reservedOptions, type Reservation } from './reservation';

const HOUR_MS = 3_600_000;
let project = 0;

describe('a launch into a capacity reservation', () => {
  let at: Fixture;
  let caller: Caller;
  /** Instances stay pending: no process of theirs runs, and none is needed. */
  beforeAll(async () => void (at = await startPipeline({ instances: [], boot: HOUR_MS })));
  afterAll(() => at.close());
  beforeEach(() => void (caller = new Caller({ workspace: 'w', project: `reserved ${++project}`, caller: CALLER })));
  afterEach(async () => {
    caller.aws.close();
    await clear(at);
  });

  const reserve = async (more: Partial<CreateCapacityReservationCommandInput> = {}) => {
    const command = new CreateCapacityReservationCommand({
      InstanceType: 'c5.xlarge',
      InstancePlatform: 'Linux/UNIX',
      AvailabilityZone: 'eu-west-1b',
      InstanceCount: 2,
      InstanceMatchCriteria: 'targeted',
      ...more,
    });
    return (await at.ec2.send(command)).CapacityReservation!.CapacityReservationId!;
  };
  const buy = async (StartDateRange?: Date) => {
    const offered = new DescribeCapacityBlockOfferingsCommand({
      InstanceType: 'p5.48xlarge',
      InstanceCount: 2,
      CapacityDurationHours: 24,
      StartDateRange,
    });
    const [offering] = (await at.ec2.send(offered)).CapacityBlockOfferings!;
    const CapacityBlockOfferingId = offering.CapacityBlockOfferingId;
    const bought = new PurchaseCapacityBlockCommand({ CapacityBlockOfferingId, InstancePlatform: 'Linux/UNIX' });
    return (await at.ec2.send(bought)).CapacityReservation!;
  };
  const up = (written: object, count = 2) => {
    const launchSpec = launchSpecOf({ type: 'c5.xlarge', ...written });
    return ensureInstances(caller.options(launchSpec, { count, timeouts: { sure: 1_500 } }));
  };
  const local = ({ id }: EnsuredInstance) => at.aws.instances.get(id)!;

  it('is in its zone and in it alone, whatever other capacity there is', async () => {
    const id = await reserve();
    at.aws.capacity.add({});
    const made = await up({ type: ['m5.large', 'c5.xlarge'], capacityReservation: id });
    expect(made.map(({ type, zone }) => [type, zone])).toEqual(Array(2).fill(['c5.xlarge', 'eu-west-1b']));
    expect(made.map((each) => local(each).capacityReservation)).toEqual([id, id]);
    expect(await up({ type: ['m5.large', 'c5.xlarge'], capacityReservation: id })).toMatchObject([
      { how: 'found' },
      { how: 'found' },
    ]);
    await expect(up({ capacityReservation: id }, 1)).rejects.toMatchObject({
      code: 'CAPACITY_RESERVATION',
      message: expect.stringContaining(`${id} can't be used: it has room for 0 of 1 instances (2 in all).`),
    });
    expect(at.aws.left().instances).toHaveLength(2);
  });

  it('finds what a launch has launched that was killed before it wrote that down, though there is no more room', async () => {
    const written = { capacityReservation: await reserve() };
    const made = await up(written);
    const launchSpec = launchSpecOf({ type: 'c5.xlarge', ...written });
    const { store, keys } = caller.options(launchSpec);
    const journal = new LaunchJournal(store, keys, specHash(caller.owner, launchSpec, 2));
    const { state, etag } = (await journal.read())!;
    await journal.write({ ...state!, instances: [] }, etag);
    expect((await up(written)).map(({ id }) => id)).toEqual(made.map(({ id }) => id));
  });

  it('is refused before anything is launched if the reservation does not fit', async () => {
    const id = await reserve();
    const refused = (written: object) =>
      up(written).then(
        () => null,
        ({ code, message }: { code: string; message: string }) => `${code} ${message}`,
      );
    expect(await refused({ capacityReservation: 'cr-0123456789abcdef0' })).toMatch(
      /^CAPACITY_RESERVATION Could not look up the capacity reservation cr-0\w+ in eu-west-1\.\n.*InvalidCapacityReservationId\.NotFound/,
    );
    expect(await refused({ capacityReservation: id, type: ['m5.large', 'g5.xlarge'] })).toContain(
      'it is for c5.xlarge, and "instance.type" is m5.large, g5.xlarge.',
    );
    const subnet = 'subnet-0000000000000000a';
    expect(await refused({ capacityReservation: id, subnet })).toContain(
      'it is in eu-west-1b, and the subnets are in eu-west-1a.',
    );
    await at.ec2.send(new CancelCapacityReservationCommand({ CapacityReservationId: id }));
    expect(await refused({ capacityReservation: id })).toContain('it is cancelled.');
    const later = await buy(new Date(Date.now() + HOUR_MS));
    const block = { type: 'p5.48xlarge', capacityReservation: later.CapacityReservationId };
    expect(await refused(block)).toMatch(/it is scheduled, and starts at 20\d\d-\d\d-\d\dT/);
    expect(at.aws.left().instances).toEqual([]);
    expect(
      resolveLaunchSpec(launchSpecSchema.parse({ type: 'm5.large', capacityReservation: id, spot: true })),
    ).toEqual({ wrong: expect.stringContaining("a spot instance can't use reserved capacity") });
  });

  it('into a capacity block has its market type, no group, no price, and ends 40 minutes before the block', async () => {
    const block = await buy();
    const written = { type: 'p5.48xlarge', capacityReservation: block.CapacityReservationId };
    await expect(up({ ...written, placement: 'cluster' })).rejects.toMatchObject({ code: 'PLACEMENT' });
    await expect(up({ ...written, maxCost: 10 })).rejects.toMatchObject({ code: 'MAX_COST' });
    const made = await up({ ...written, maxLifetime: '48h' });
    expect(made.map(({ deadline, price }) => [deadline, price])).toEqual(
      Array(2).fill([block.EndDate!.getTime() - 40 * 60_000, null]),
    );
    expect(made.map((each) => local(each).capacityReservation)).toEqual(Array(2).fill(block.CapacityReservationId));
    expect(caller.told).toMatch(
      /Launching 2 x p5\.48xlarge in eu-west-1c: paid for in advance; they shut down after at most 23h \d+m/,
    );
    expect(at.aws.left().placementGroups).toEqual([]);
  });
});

describe('a capacity block', () => {
  const end = Date.UTC(2026, 11, 2, 11, 30);
  const until = end - 40 * 60_000;
  const block: Reservation = {
    id: 'cr-1',
    isBlock: true,
    type: 'p5.48xlarge',
    zone: 'a',
    free: 2,
    total: 4,
    end,
    until,
  };

  it('is of no use in its last 40 minutes, which is said with its times', () => {
    expect(() => assertRoom(block, 2, until - 1)).not.toThrow();
    expect(() => assertRoom(block, 2, until)).toThrow(
      'it is a capacity block that ends at 2026-12-02T11:30:00Z: EC2 terminates its instances from 2026-12-02T11:00:00Z on, and nx-ec2 ends them at 2026-12-02T10:50:00Z.',
    );
    expect(() => assertRoom(block, 3, 0)).toThrow('it has room for 2 of 3 instances (4 in all).');
  });

  it('leaves of the launch options those of its type and zone', () => {
    const option = { type: 'p5.48xlarge', zone: 'a', subnet: 's', market: 'on-demand' } as const;
    expect(reservedOptions(block, [{ ...option, zone: 'b' }, option, { ...option, type: 'p4d.24xlarge' }])).toEqual([
      option,
    ]);
    expect(reservedOptions(null, [option])).toEqual([option]);
  });
});
