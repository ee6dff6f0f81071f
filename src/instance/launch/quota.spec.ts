import { RunInstancesCommand } from '@aws-sdk/client-ec2';
import { Aws } from '../../aws/clients';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { startPipeline } from '../../run/pipeline.fixture';
import { checkQuota, quotaOf } from './quota';

describe('quotas', () => {
  let at: Fixture;
  let aws: Aws;
  beforeAll(async () => {
    at = await startPipeline({ instances: [] });
    aws = new Aws({});
  });
  afterAll(async () => {
    aws.close();
    await at.close();
  });
  beforeEach(() => at.aws.faults.clear());

  it('are found by the family of a type', () => {
    expect(quotaOf('g5.xlarge', 'spot')?.code).toBe('L-3819A6DF');
    expect(quotaOf('g4dn.xlarge', 'on-demand')?.name).toBe('Running On-Demand G and VT instances');
    expect(quotaOf('p4d.24xlarge', 'spot')?.code).toBe('L-7212CCBC');
    expect(quotaOf('p5en.48xlarge', 'spot')?.code).toBe('L-C4BD4855');
    expect(quotaOf('p5en.48xlarge', 'on-demand')?.code).toBe('L-417A185B');
    for (const type of ['t3.micro', 'c7gn.large', 'im4gn.large', 'is4gen.large', 'd3.xlarge', 'i4i.large'])
      expect(quotaOf(type, 'on-demand')?.code).toBe('L-1216C47A');
    expect(quotaOf('inf2.xlarge', 'on-demand')?.code).toBe('L-1945791B');
    expect(quotaOf('dl1.24xlarge', 'spot')?.code).toBe('L-85EED4F7');
    for (const type of ['mac2.metal', 'hpc7g.4xlarge', 'u-6tb1.metal', 'p6-b200.48xlarge', 'zz1.large'])
      expect(quotaOf(type, 'spot')).toBeNull();
  });

  it('are compared with the running instances of the same class and market, plus the new one', async () => {
    const check = () => checkQuota(aws, 'g5.xlarge', 'spot');
    expect(await check()).toEqual({
      name: 'quota for g5.xlarge (spot)',
      ok: true,
      detail: '0 of 96 vCPUs of "All G and VT Spot Instance Requests" are in use, and it needs 4',
      fix: null,
    });
    const launch = (InstanceType: 'g4dn.xlarge' | 't3.micro', spot: boolean) =>
      at.ec2.send(
        new RunInstancesCommand({
          ImageId: 'ami-00000000000000001',
          InstanceType,
          MinCount: 1,
          MaxCount: 1,
          ...(spot ? { InstanceMarketOptions: { MarketType: 'spot' } } : {}),
        }),
      );
    await launch('g4dn.xlarge', true);
    await launch('g4dn.xlarge', false);
    await launch('t3.micro', true);
    at.aws.quotas.set('L-3819A6DF', 8);
    expect(await check()).toMatchObject({ ok: true, detail: expect.stringMatching(/^4 of 8 vCPUs/) });
    at.aws.quotas.set('L-3819A6DF', 7);
    expect(await check()).toMatchObject({
      ok: false,
      detail: expect.stringMatching(/^4 of 7 vCPUs .* needs 4$/),
      fix: expect.stringMatching(
        /at least 8 in .*"All G and VT Spot Instance Requests" \(L-3819A6DF\), or terminate other instances/,
      ),
    });
    at.aws.quotas.set('L-3819A6DF', 0);
    expect(await checkQuota(aws, 'g5.xlarge', 'on-demand')).toMatchObject({ ok: true });
  });

  it('are compared with what several instances need together', async () => {
    const check = () => checkQuota(aws, 'm5.large', 'spot', 3);
    at.aws.quotas.set('L-34B43A08', 8);
    const detail = expect.stringMatching(/^2 of 8 vCPUs of .* are in use, and 3 instances need 6$/);
    expect(await check()).toMatchObject({ name: 'quota for 3 x m5.large (spot)', ok: true, detail });
    at.aws.quotas.set('L-34B43A08', 7);
    expect(await check()).toMatchObject({ ok: false, fix: expect.stringContaining('Request at least 8') });
  });

  it('are no failure if the caller may not read them', async () => {
    at.aws.faults.add({
      service: 'servicequotas',
      action: 'GetServiceQuota',
      error: { code: 'AccessDeniedException', message: 'not you' },
    });
    expect(await checkQuota(aws, 'm5.large', 'on-demand')).toMatchObject({
      ok: null,
      detail: expect.stringMatching(/AccessDeniedException: not you/),
      fix: expect.stringMatching(/servicequotas:GetServiceQuota/),
    });
    expect(await checkQuota(aws, 'mac2.metal', 'spot')).toMatchObject({
      ok: null,
      detail: expect.stringMatching(/^Not checked: /),
    });
  });
});
