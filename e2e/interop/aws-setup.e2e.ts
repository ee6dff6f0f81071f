import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  CreateFleetCommand,
  CreateLaunchTemplateCommand,
  DescribeFleetsCommand,
  DescribeImagesCommand,
  RunInstancesCommand,
  type ResourceType,
} from '@aws-sdk/client-ec2';
import { deadlineProgram } from '../../src/generators/aws-setup/deadline';
import type { SetupOptions } from '../../src/generators/aws-setup/options';
import { setupTemplate } from '../../src/generators/aws-setup/template';
import { NEEDS } from '../../src/aws/permissions/needs';
import { startFixture, type Fixture } from '../../src/local-aws/local-aws.fixture';
import { program, interopPython } from './programs';

const python = interopPython();
const lint = program('cfn-lint');
const absent = (what: string, there: unknown) => (there ? '' : ` (SKIPPED: ${what} is not here)`);

const ENDPOINTS = {
  vpc: 'vpc-0123456789abcdef0',
  subnets: ['subnet-0123456789abcdef0'],
  routeTables: ['rtb-0123456789abcdef0'],
};
const VARIANTS: [string, SetupOptions][] = [
  ['by itself', {}],
  ['with --launch --recovery --lifecycle', { launch: true, recovery: true, lifecycle: true }],
  ['with --deadline', { deadline: true }],
  ['with --endpoints', { endpoints: { ...ENDPOINTS, securityGroups: [] } }],
  [
    'with all there is',
    {
      launch: true,
      recovery: true,
      lifecycle: true,
      deadline: true,
      instanceProfile: 'training',
      endpoints: { ...ENDPOINTS, securityGroups: ['sg-0123456789abcdef0'] },
      budget: { usd: 500, email: 'ml@acme.example' },
    },
  ],
];

describe('the template of aws-setup', () => {
  (lint ? it : it.skip).each(VARIANTS)(
    `has nothing wrong in it that cfn-lint finds, %s${absent('cfn-lint', lint)}`,
    (_, options) => {
      const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-template-'));
      writeFileSync(join(directory, 'template.json'), JSON.stringify(setupTemplate('acme-training', options)));
      const { status, stdout } = spawnSync(lint!, [join(directory, 'template.json')], { encoding: 'utf8' });
      rmSync(directory, { recursive: true });
      expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
    },
  );
});

describe('the deadline from outside', () => {
  const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-deadline-'));
  const file = join(directory, 'deadline.py');
  let at: Fixture;
  let ImageId: string;
  beforeAll(async () => {
    at = await startFixture({ instances: [] });
    const { Images } = await at.ec2.send(
      new DescribeImagesCommand({ Filters: [{ Name: 'architecture', Values: ['x86_64'] }] }),
    );
    ImageId = Images![0].ImageId!;
    // As the template has it.
    writeFileSync(file, deadlineProgram());
  });
  afterAll(async () => {
    await at.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const MINUTE = 60_000;
  const minutes = (count: number) => String(Date.now() + count * MINUTE);
  const tagged = (type: ResourceType, tags: Record<string, string>) => ({
    ResourceType: type,
    Tags: Object.entries(tags).map(([Key, Value]) => ({ Key, Value })),
  });
  /** One whose watchdog is dead: none was ever started. @param age minutes since its launch. */
  const launch = async (tags: Record<string, string>, age = 0) => {
    const { Instances } = await at.ec2.send(
      new RunInstancesCommand({
        ImageId,
        InstanceType: 't3.micro',
        MinCount: 1,
        MaxCount: 1,
        TagSpecifications: [tagged('instance', tags)],
      }),
    );
    const id = Instances![0].InstanceId!;
    at.aws.instances.get(id)!.launched -= age * MINUTE;
    return id;
  };
  const run = async () => {
    const { stdout } = await promisify(execFile)(python!, [join(__dirname, 'deadline.py'), file], {
      env: { PATH: process.env.PATH, HOME: directory, ...at.aws.environment },
    });
    return JSON.parse(stdout) as { instances: string[]; fleets: string[]; unreadable: string[] };
  };
  const managed = { 'nx-ec2:managed': 'true' };
  const state = (id: string) => at.aws.instances.get(id)!.state;

  (python ? it : it.skip)(
    `ends what is 15 minutes past its time, and nothing else${absent('boto3', python)}`,
    async () => {
      const lifetime = { ...managed, 'nx-ec2:lifetime': '3600' };
      const over = await launch(lifetime, 60 + 16);
      const grace = await launch(lifetime, 60 + 14);
      const late = await launch({ ...managed, 'nx-ec2:lifetime': '86400', 'nx-ec2:deadline': minutes(-16) });
      const soon = await launch({ ...managed, 'nx-ec2:deadline': minutes(-14) });
      const stops = await launch({ ...lifetime, 'nx-ec2:finish': 'stop 0 1800' }, 90);
      const endless = await launch(managed, 10_000);
      const odd = await launch({ ...managed, 'nx-ec2:lifetime': 'a while' }, 10_000);
      const others = await launch({ 'nx-ec2:lifetime': '3600', 'nx-ec2': 'train' }, 10_000);
      at.aws.calls.clear();
      const told = await run();
      expect(new Set(told.instances)).toEqual(new Set([over, late, stops]));
      expect(told).toMatchObject({ fleets: [], unreadable: [odd] });
      expect([over, late].map(state)).toEqual(['terminated', 'terminated']);
      expect(state(stops)).toBe('stopped');
      expect([grace, soon, endless, odd, others].map(state)).toEqual(Array(5).fill('running'));
      // Each time again: what it ended is not ended once more.
      expect((await run()).instances).toEqual([]);
    },
  );

  (python ? it : it.skip)(
    `ends a fleet that is past its deadline, with its instances${absent('boto3', python)}`,
    async () => {
      const fleet = async (deadline: string) => {
        const { LaunchTemplate } = await at.ec2.send(
          new CreateLaunchTemplateCommand({
            LaunchTemplateName: `nx-ec2-${deadline}`,
            LaunchTemplateData: { ImageId, TagSpecifications: [tagged('instance', managed)] },
          }),
        );
        const made = await at.ec2.send(
          new CreateFleetCommand({
            Type: 'maintain',
            TargetCapacitySpecification: { TotalTargetCapacity: 1, DefaultTargetCapacityType: 'spot' },
            LaunchTemplateConfigs: [
              {
                LaunchTemplateSpecification: { LaunchTemplateId: LaunchTemplate!.LaunchTemplateId, Version: '1' },
                Overrides: [{ InstanceType: 't3.micro' }],
              },
            ],
            TagSpecifications: [tagged('fleet', { ...managed, 'nx-ec2:deadline': deadline })],
          }),
        );
        return made.FleetId!;
      };
      const [over, soon] = [await fleet(minutes(-16)), await fleet(minutes(60))];
      const told = await run();
      expect(told.fleets).toEqual([over]);
      const { Fleets } = await at.ec2.send(new DescribeFleetsCommand({ FleetIds: [over, soon] }));
      expect(Fleets!.map(({ FleetState }) => FleetState)).toEqual([expect.stringMatching(/^deleted/), 'active']);
      expect(at.aws.left().instances.length).toBeGreaterThan(0);
      // All that it called, in both cases, is in the table.
      const called = new Set(at.aws.calls.all().map(({ action }) => action));
      for (const { action } of NEEDS.deadline) expect(called).toContain(action);
    },
  );
});
