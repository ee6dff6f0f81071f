import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { DescribeInstancesCommand, RunInstancesCommand, type RunInstancesCommandInput } from '@aws-sdk/client-ec2';
import { GetCommandInvocationCommand, SendCommandCommand } from '@aws-sdk/client-ssm';
import { refusal, startFixture, type Fixture } from '../local-aws.fixture';
import { USER_DATA_LOG } from './cloud-init';
import { until } from '../../system/until.fixture';

describe('an instance that was launched', () => {
  let at: Fixture;
  beforeAll(async () => {
    at = await startFixture({ instances: [] });
  });
  afterAll(() => at.close());

  const launch = async (more: Partial<RunInstancesCommandInput> = {}) => {
    const command = new RunInstancesCommand({
      ImageId: 'ami-00000000000000001',
      MinCount: 1,
      MaxCount: 1,
      IamInstanceProfile: { Name: 'training' },
      ...more,
    });
    return (await at.ec2.send(command)).Instances![0].InstanceId!;
  };
  const send = async (id: string, script: string) => {
    const { Command } = await at.ssm.send(
      new SendCommandCommand({
        DocumentName: 'AWS-RunShellScript',
        InstanceIds: [id],
        Parameters: { commands: [script] },
      }),
    );
    return Command!.CommandId!;
  };
  const run = async (id: string, script: string) => {
    const CommandId = await send(id, script);
    return until(async () => {
      const got = await at.ssm.send(new GetCommandInvocationCommand({ CommandId, InstanceId: id }));
      return ['Pending', 'InProgress'].includes(got.Status!) ? null : got;
    });
  };
  const told = async (id: string) => {
    const { Reservations } = await at.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
    return Reservations![0].Instances![0];
  };
  const userData = (script: string) => Buffer.from(script).toString('base64');

  it('has run its user data when cloud-init says so', async () => {
    const id = await launch({
      UserData: userData('#!/bin/sh\nsleep 0.3\necho "ready in $PWD"\necho oops >&2\ntouch made\n'),
    });
    const waited = await run(id, 'cloud-init status --wait');
    expect(waited).toMatchObject({ Status: 'Success', StandardOutputContent: 'status: done\n' });
    const disk = at.aws.instances.disk(id);
    expect(existsSync(join(disk, 'made'))).toBe(true);
    expect(readFileSync(join(disk, USER_DATA_LOG), 'utf8')).toBe(`ready in ${disk}\noops\n`);
  });

  it('has an error of cloud-init if its user data fails', async () => {
    const failing = await launch({ UserData: userData('#!/bin/sh\nexit 3\n') });
    expect(await run(failing, 'cloud-init status --wait --long')).toMatchObject({
      ResponseCode: 1,
      StandardOutputContent: 'status: error\n',
    });
    const config = await launch({ UserData: userData('#cloud-config\n') });
    expect(await run(config, 'cloud-init status --wait')).toMatchObject({ ResponseCode: 1 });
    expect(readFileSync(join(at.aws.instances.disk(config), USER_DATA_LOG), 'utf8')).toMatch(/does not begin with #!/);
  });

  it.each([
    ['inflates to more than it may', gzipSync(Buffer.alloc(5 * 1024 * 1024), { level: 9 })],
    ['is cut off', gzipSync('#!/bin/sh\n').subarray(0, -9)],
  ])('has an error of cloud-init if its user data %s', async (_, bytes) => {
    const id = await launch({ UserData: bytes.toString('base64') });
    expect(await run(id, 'cloud-init status --wait')).toMatchObject({ ResponseCode: 1 });
    expect(readFileSync(join(at.aws.instances.disk(id), USER_DATA_LOG), 'utf8')).toMatch(/^cloud-init: the user data /);
  });

  it('runs user data of several parts: boothooks first and at each boot, scripts once', async () => {
    const part = (type: string, text: string) =>
      `--edge\nContent-Type: ${type}\nContent-Transfer-Encoding: base64\n\n${Buffer.from(text).toString('base64')}\n`;
    const message = [
      'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="edge"\n\n',
      part('text/x-shellscript', '#!/bin/sh\necho script >> done\n'),
      part('text/cloud-boothook', '#!/bin/sh\necho "hook of $INSTANCE_ID" >> done\n'),
      part('text/cloud-boothook', '#cloud-boothook\n#!/bin/sh\necho failing >> done\nexit 3\n'),
      part('text/x-shellscript', '#!/bin/sh\necho second >> done\n'),
      '--edge--\n',
    ].join('');
    const id = await launch({ UserData: gzipSync(message).toString('base64') });
    expect(await run(id, 'cloud-init status --wait')).toMatchObject({ StandardOutputContent: 'status: done\n' });
    const done = () =>
      readFileSync(join(at.aws.instances.disk(id), 'done'), 'utf8')
        .trim()
        .split('\n');
    const hooks = [`hook of ${id}`, 'failing'];
    expect(done()).toEqual([...hooks, 'script', 'second']);
    await send(id, 'reboot');
    await until(() => done().length === 6);
    expect(done()).toEqual([...hooks, 'script', 'second', ...hooks]);
  });

  it('runs the other parts if a script fails, and has an error for a part of unknown type', async () => {
    const part = (type: string, text: string) => `--edge\nContent-Type: ${type}\n\n${text}\n`;
    const message = [
      'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="edge"\n\n',
      part('text/cloud-config', '#cloud-config\npackages: [git]'),
      part('text/x-shellscript', '#!/bin/sh\nexit 3'),
      part('text/x-shellscript', '#!/bin/sh\ntouch made'),
      '--edge--\n',
    ].join('');
    const id = await launch({ UserData: userData(message) });
    expect(await run(id, 'cloud-init status --wait')).toMatchObject({ ResponseCode: 1 });
    const disk = at.aws.instances.disk(id);
    expect(existsSync(join(disk, 'made'))).toBe(true);
    expect(readFileSync(join(disk, USER_DATA_LOG), 'utf8')).toMatch(/does not begin with #!/);
  });

  it('stops or terminates if a program on it shuts it down', async () => {
    const stopping = await launch();
    await send(stopping, 'shutdown -h now');
    await until(async () => (await told(stopping)).State!.Name === 'stopped');
    expect((await told(stopping)).StateReason!.Code).toBe('Client.InstanceInitiatedShutdown');
    const ending = await launch({ InstanceInitiatedShutdownBehavior: 'terminate' });
    await send(ending, 'sudo() { "$@"; }; sudo systemctl poweroff');
    await until(async () => (await told(ending)).State!.Name === 'terminated');
  });

  it('can be shut down later by its user data, which can cancel that', async () => {
    const id = await launch({
      UserData: userData('#!/bin/sh\nshutdown +1\n'),
      InstanceInitiatedShutdownBehavior: 'terminate',
    });
    expect(await run(id, 'cloud-init status --wait && shutdown -c && shutdown -P +2 && shutdown -c')).toMatchObject({
      Status: 'Success',
    });
    expect(await run(id, 'shutdown whenever')).toMatchObject({ ResponseCode: 1 });
    expect((await told(id)).State!.Name).toBe('running');
    await send(id, 'poweroff');
    await until(async () => (await told(id)).State!.Name === 'terminated');
  });

  it('reboots if a program on it says so, which ends its processes', async () => {
    const id = await launch({ UserData: userData('#!/bin/sh\necho once >> count\n') });
    await run(id, 'cloud-init status --wait; sleep 300 </dev/null >/dev/null 2>&1 & ');
    expect(at.aws.instances.processes(id)).toHaveLength(1);
    await send(id, 'reboot');
    await until(() => at.aws.instances.processes(id).length === 0);
    expect(await run(id, 'cloud-init status --wait')).toMatchObject({ Status: 'Success' });
    expect(readFileSync(join(at.aws.instances.disk(id), 'count'), 'utf8')).toBe('once\n');
  });

  it('cannot be shut down by another caller', async () => {
    const id = await launch();
    const ask = (secret: string) =>
      fetch(`${at.aws.url}/imds/${id}/${secret}/local/poweroff?seconds=0`, { method: 'POST' });
    expect((await ask('guess')).status).toBe(404);
    const other = await launch();
    expect((await ask(at.aws.instances.get(other)!.secret)).status).toBe(404);
    expect((await told(id)).State!.Name).toBe('running');
  });

  it('answers IMDSv1 only if its metadata options allow it', async () => {
    const ask = async (id: string) =>
      (await fetch(`${at.aws.instances.metadataUrl(id)}/latest/meta-data/instance-id`)).status;
    expect(await ask(await launch())).toBe(401);
    expect(await ask(await launch({ MetadataOptions: { HttpTokens: 'required' } }))).toBe(401);
    expect(await ask(await launch({ MetadataOptions: { HttpTokens: 'optional' } }))).toBe(200);
  });

  it('is never online without a profile', async () => {
    const id = await launch({ IamInstanceProfile: undefined });
    expect((await told(id)).IamInstanceProfile).toBeUndefined();
    expect(await refusal(send(id, 'true'))).toBe('InvalidInstanceId 400');
  });

  it('runs without being online until its agent starts', async () => {
    at.aws.instances.agentDelay = Infinity;
    const id = await launch();
    expect((await told(id)).State!.Name).toBe('running');
    expect(await refusal(send(id, 'true'))).toBe('InvalidInstanceId 400');
    at.aws.instances.agentDelay = 0;
    expect(await run(id, 'true')).toMatchObject({ Status: 'Success' });
  });

  it('finds its user data and its profile in its metadata', async () => {
    const id = await launch({ UserData: userData('#!/bin/sh\n'), MetadataOptions: { HttpTokens: 'optional' } });
    const read = async (path: string) => (await fetch(`${at.aws.instances.metadataUrl(id)}/latest/${path}`)).text();
    expect(await read('user-data')).toBe('#!/bin/sh\n');
    const bytes = gzipSync('#!/bin/sh\n');
    const packed = await launch({ UserData: bytes.toString('base64'), MetadataOptions: { HttpTokens: 'optional' } });
    const answered = await (await fetch(`${at.aws.instances.metadataUrl(packed)}/latest/user-data`)).arrayBuffer();
    expect(Buffer.from(answered).equals(bytes)).toBe(true);
    expect(await read('meta-data/iam/security-credentials/')).toBe('training');
    expect(await read('meta-data/instance-life-cycle')).toBe('on-demand');
  });

  it('is unchanged after a restart of local AWS', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-kept-'));
    const first = await startFixture({ directory, instances: [] });
    const command = new RunInstancesCommand({
      ImageId: 'ami-00000000000000001',
      MinCount: 1,
      MaxCount: 1,
      ClientToken: 'kept',
      IamInstanceProfile: { Name: 'training' },
      InstanceInitiatedShutdownBehavior: 'terminate',
    });
    const [made] = (await first.ec2.send(command)).Instances!;
    await first.close();
    const second = await startFixture({ directory, instances: [] });
    expect((await second.ec2.send(command)).Instances).toEqual([made]);
    const sent = await second.ssm.send(
      new SendCommandCommand({
        DocumentName: 'AWS-RunShellScript',
        InstanceIds: [made.InstanceId!],
        Parameters: { commands: ['shutdown now'] },
      }),
    );
    expect(sent.Command!.Status).toBe('Pending');
    await until(() => second.aws.left().instances.length === 0);
    await second.close();
    rmSync(directory, { recursive: true, force: true });
  });
});
