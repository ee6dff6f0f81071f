import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DescribeInstancesCommand, RunInstancesCommand, TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { GetCallerIdentityCommand } from '@aws-sdk/client-sts';
import { until } from '../system/until.fixture';
import { refusal, startFixture } from './local-aws.fixture';

describe('local AWS', () => {
  it('keeps its state over a restart, and locks its directory', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-state-'));
    const first = await startFixture({ directory });
    await first.s3.send(new PutObjectCommand({ Bucket: 'bucket', Key: 'kept', Body: 'content' }));
    await expect(startFixture({ directory }))
      .resolves.toBeDefined()
      .catch(() => undefined);
    const box = first.aws.named.get('box')!.id;
    await first.close();
    const second = await startFixture({ directory });
    expect(second.aws.named.get('box')!.id).toBe(box);
    const got = await second.s3.send(new GetObjectCommand({ Bucket: 'bucket', Key: 'kept' }));
    expect(await got.Body!.transformToString()).toBe('content');
    await second.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it('launches once for one client token, and still describes a terminated instance', async () => {
    const at = await startFixture();
    const run = () =>
      at.ec2.send(
        new RunInstancesCommand({
          ImageId: 'ami-00000000000000001',
          MinCount: 1,
          MaxCount: 1,
          ClientToken: 'once',
          TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'Team', Value: 'a b & <c>' }] }],
        }),
      );
    const id = (await run()).Instances![0].InstanceId!;
    expect((await run()).Instances![0].InstanceId).toBe(id);
    const find = async (value: string) => {
      const { Reservations } = await at.ec2.send(
        new DescribeInstancesCommand({ Filters: [{ Name: 'tag:Team', Values: [value] }] }),
      );
      return Reservations!.flatMap(({ Instances }) =>
        Instances!.map(({ InstanceId, State }) => [InstanceId, State!.Name]),
      );
    };
    expect(await find('a b & <c>')).toEqual([[id, 'running']]);
    expect(await find('other')).toEqual([]);
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }));
    expect(await find('a b & <c>')).toEqual([[id, 'terminated']]);
    expect(await refusal(at.ec2.send(new DescribeInstancesCommand({ InstanceIds: ['i-0123456789abcdef0'] })))).toBe(
      'InvalidInstanceID.NotFound 400',
    );
    await at.close();
  });

  it('keeps no requests, unless it is asked to', async () => {
    for (const history of [undefined, true]) {
      const at = await startFixture({ history });
      await at.sts.send(new GetCallerIdentityCommand({}));
      await fetch(at.aws.url).then((answer) => answer.text());
      await until(() => at.aws.traffic().client.requests === 2);
      expect([at.aws.requests.length, at.aws.calls.all().length]).toEqual(history ? [2, 1] : [0, 0]);
      await at.close();
    }
  });

  it('injects faults where and as often as configured', async () => {
    const at = await startFixture({
      faults: [
        { service: 'sts', after: 1, times: 2, error: { code: 'Throttling', message: 'Rate exceeded' } },
        { service: 's3', action: 'PUT', cut: 'after' },
      ],
    });
    const ask = () => refusal(at.sts.send(new GetCallerIdentityCommand({})));
    expect([await ask(), await ask(), await ask(), await ask()]).toEqual([
      null,
      'Throttling 400',
      'Throttling 400',
      null,
    ]);
    const put = () => at.s3.send(new PutObjectCommand({ Bucket: 'bucket', Key: 'lost', Body: 'x' }));
    await expect(put()).rejects.toThrow();
    // Its answer was lost, its effect was not.
    expect(await refusal(at.s3.send(new GetObjectCommand({ Bucket: 'bucket', Key: 'lost' })))).toBeNull();
    const retrying = new S3Client({ ...at.clientOptions, maxAttempts: 3, forcePathStyle: true });
    at.aws.faults.add({ service: 's3', times: 2, error: { code: 'SlowDown', status: 503 } });
    expect(
      await refusal(retrying.send(new PutObjectCommand({ Bucket: 'bucket', Key: 'again', Body: 'x' }))),
    ).toBeNull();
    await at.close();
  });
});
