import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  RunInstancesCommand,
  StartInstancesCommand,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
import {
  CancelCommandCommand,
  DescribeInstanceInformationCommand,
  GetConnectionStatusCommand,
  ListCommandInvocationsCommand,
  SendCommandCommand,
} from '@aws-sdk/client-ssm';
import { refusal, startFixture, type Fixture } from '../local-aws.fixture';
import { commandsOf } from './commands.fixture';

const DocumentName = 'AWS-RunShellScript';
const machine = {
  ImageId: 'ami-00000000000000001',
  MinCount: 1,
  MaxCount: 1,
  IamInstanceProfile: { Name: 'training' },
};

describe('Run Command', () => {
  let at: Fixture;
  let box: string;
  let send: ReturnType<typeof commandsOf>['send'];
  let look: ReturnType<typeof commandsOf>['look'];
  let ended: ReturnType<typeof commandsOf>['ended'];
  let run: ReturnType<typeof commandsOf>['run'];
  beforeAll(async () => {
    at = await startFixture();
    ({ box, send, look, ended, run } = commandsOf(at));
  });
  afterAll(() => at.close());

  it('runs a script by sh, without HOME, with stdin from /dev/null, in another directory', async () => {
    const { StandardOutputContent: out } = await run(
      'echo "$0"; echo "home=${HOME-unset} user=${USER-unset} shell=${SHELL-unset}"; pwd; readlink /proc/self/fd/0; echo "id=$AWS_SSM_INSTANCE_ID"; [ -n "$SSM_COMMAND_ID" ] && echo known',
    );
    const lines = out!.trimEnd().split('\n');
    expect(lines[0]).toMatch(/_script\.sh$/);
    expect(lines.slice(1)).toEqual([
      'home=unset user=unset shell=unset',
      '/usr/bin',
      '/dev/null',
      `id=${box}`,
      'known',
    ]);
  });

  it('sets this server as the endpoint, and no credentials besides those of the metadata service', async () => {
    const { StandardOutputContent: out } = await run('env | grep ^AWS_ | sort');
    const variables = Object.fromEntries(
      out!
        .trimEnd()
        .split('\n')
        .map((line) => line.split(/=(.*)/).slice(0, 2)),
    );
    expect(variables).toMatchObject({
      AWS_ENDPOINT_URL: at.aws.url,
      AWS_REGION: 'eu-west-1',
      AWS_DEFAULT_REGION: 'eu-west-1',
      AWS_EC2_METADATA_SERVICE_ENDPOINT: expect.stringMatching(/\/imds\//),
    });
    expect(Object.keys(variables).filter((name) => /KEY|TOKEN|PROFILE/.test(name))).toEqual([]);
  });

  it.each([
    [0, 'Success', /^out\n$/],
    [3, 'Failed', /^out\n$/],
    [137, 'TimedOut', /^out\n$/],
    [168, 'Success', /^out\n[^]+/],
    [169, 'Failed', /^out\n[^]+/],
  ])('reports exit %i as %s', async (code, status, output) => {
    const seen = await run(`echo out; exit ${code}`);
    expect([seen.Status, seen.ResponseCode]).toEqual([status, code]);
    expect(seen.StandardOutputContent).toMatch(output);
  });

  it('writes the exit code of a failed script to the standard error', async () => {
    expect((await run('exit 3')).StandardErrorContent).toContain('failed to run commands: exit status 3');
  });

  it('reports the last exit code, since there is no set -e', async () => {
    expect(await run('false\ntrue')).toMatchObject({ Status: 'Success' });
  });

  it('runs the whole script again after exit 194', async () => {
    const mark = `${at.directory}/rebooted`;
    const seen = await run(`echo once; [ -e ${mark} ] && exit 0; touch ${mark}; exit 194`);
    expect(seen).toMatchObject({ Status: 'Success', StandardOutputContent: 'once\nonce\n' });
  });

  it('reboots some time after exit 194, which ends other processes', async () => {
    at.aws.instances.rebootDelay = 400;
    await run('setsid sleep 60 </dev/null >/dev/null 2>&1 &');
    const mark = `${at.directory}/delayed`;
    const id = await send(`[ -e ${mark} ] && exit 0; touch ${mark}; exit 194`);
    while (!(await readFile(mark).catch(() => null))) await sleep(10);
    expect(at.aws.instances.processes(box).length).toBeGreaterThan(0);
    expect((await look(id)).Status).toBe('InProgress');
    expect((await ended(id)).Status).toBe('Success');
    expect(at.aws.instances.processes(box)).toEqual([]);
    at.aws.instances.rebootDelay = 0;
  });

  it('truncates each stream by bytes and says so', async () => {
    const seen = await run("head -c 30000 /dev/zero | tr '\\0' a; head -c 30000 /dev/zero | tr '\\0' b >&2");
    expect(seen.StandardOutputContent).toHaveLength(24_000);
    expect(seen.StandardOutputContent).toMatch(/a--output truncated--$/);
    expect(seen.StandardErrorContent).toHaveLength(8_000);
  });

  it('truncates from exactly 24,000 bytes on', async () => {
    const print = (bytes: number) => run(`head -c ${bytes} /dev/zero | tr '\\0' a`);
    expect((await print(23_999)).StandardOutputContent).toBe('a'.repeat(23_999));
    expect((await print(24_000)).StandardOutputContent).toMatch(/^a{23980}--output truncated--$/);
  });

  it("writes the agent's messages for exit 168 and 169 to the same streams as the agent", async () => {
    expect(await run('echo out; echo err >&2; exit 168')).toMatchObject({
      StandardOutputContent: 'out\n\nStep exited with code 168.',
      StandardErrorContent: '',
    });
    const failed = await run('echo err >&2; exit 169');
    expect(failed.StandardErrorContent).toMatch(/^err\n[^]*exit status 169[^]*Step exited with code 169\.$/);
  });

  it('stops after 15 exits of 194, and never replies', async () => {
    const runs = `${at.directory}/runs`;
    const id = await send(`echo x >> ${runs}; exit 194`);
    const count = async () => (await readFile(runs, 'utf8').catch(() => '')).length / 2;
    while ((await count()) < 15) await sleep(20);
    await run('true');
    await sleep(100);
    expect([await count(), (await look(id)).Status]).toEqual([15, 'InProgress']);
  });

  it('measures a reply as Go encodes it: <, > and & take six bytes each', async () => {
    const id = await send("head -c 23000 /dev/zero | tr '\\0' '<'");
    await sleep(600);
    expect(await look(id)).toMatchObject({ Status: 'InProgress', StandardOutputContent: '' });
    expect(await run("head -c 19000 /dev/zero | tr '\\0' '<'")).toMatchObject({ Status: 'Success' });
  });

  it('ends at its time limit even if a process that left its group holds its output', async () => {
    const begun = Date.now();
    const seen = await run('echo before; setsid sleep 300 &', { Parameters: { executionTimeout: ['5'] } });
    expect(seen).toMatchObject({ Status: 'Failed', ResponseCode: 1, StandardOutputContent: 'before\n' });
    expect(seen.StandardErrorContent).toContain('no such process');
    expect(Date.now() - begun).toBeLessThan(250_000);
  });

  it('never ends if its reply would exceed 120,000 bytes', async () => {
    const id = await send("head -c 24000 /dev/zero | tr '\\0' '\\033'");
    await sleep(600);
    expect(await look(id)).toMatchObject({ Status: 'InProgress', StandardOutputContent: '' });
  });

  it('shows no output while it runs', async () => {
    const id = await send('echo early; sleep 1');
    await sleep(400);
    expect(await look(id)).toMatchObject({ Status: 'InProgress', ResponseCode: -1, StandardOutputContent: '' });
    expect((await ended(id)).StandardOutputContent).toBe('early\n');
  });

  it('waits for child processes only if they hold its output', async () => {
    const begun = Date.now();
    await run('sleep 1 &');
    expect(Date.now() - begun).toBeGreaterThanOrEqual(1000);
    const id = await send('setsid sleep 30 >/dev/null 2>&1 </dev/null & echo gone');
    expect(await ended(id)).toMatchObject({ Status: 'Success', StandardOutputContent: 'gone\n' });
  });

  it('is killed at its time limit without SIGTERM before, and keeps its output', async () => {
    const seen = await run('trap "echo trapped" TERM; echo before; sleep 20', {
      Parameters: { executionTimeout: ['5'] },
    });
    expect(seen).toMatchObject({ Status: 'TimedOut', ResponseCode: 137, StandardOutputContent: 'before\n' });
  });

  it('is killed when it is cancelled', async () => {
    const id = await send('echo before; sleep 20');
    while ((await look(id)).Status !== 'InProgress') await sleep(20);
    await sleep(100);
    await at.ssm.send(new CancelCommandCommand({ CommandId: id }));
    expect(await ended(id)).toMatchObject({ Status: 'Cancelled', StandardOutputContent: 'before\n' });
  });

  it('keeps its status when its instance is terminated', async () => {
    const other = (await launch()).id;
    const id = await send('sleep 20', {}, other);
    while ((await look(id, other)).ExecutionStartDateTime === '') await sleep(20);
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [other] }));
    await sleep(200);
    expect((await look(id, other)).Status).toBe('InProgress');
  });

  it('is refused before the agent is online and after the instance was terminated', async () => {
    const slow = await startFixture({ boot: 400 });
    const launched = await slow.ec2.send(new RunInstancesCommand(machine));
    const { InstanceId, State } = launched.Instances![0];
    const command = () =>
      slow.ssm.send(
        new SendCommandCommand({ InstanceIds: [InstanceId!], DocumentName, Parameters: { commands: ['true'] } }),
      );
    const pings = async () => {
      const { InstanceInformationList } = await slow.ssm.send(
        new DescribeInstanceInformationCommand({ Filters: [{ Key: 'InstanceIds', Values: [InstanceId!] }] }),
      );
      return InstanceInformationList!.map(({ PingStatus }) => PingStatus);
    };
    expect(State!.Name).toBe('pending');
    expect(await refusal(command())).toBe('InvalidInstanceId 400');
    expect(await pings()).toEqual([]);
    await sleep(450);
    expect(await pings()).toEqual(['Online']);
    expect(await refusal(command())).toBeNull();
    await slow.ec2.send(new StopInstancesCommand({ InstanceIds: [InstanceId!] }));
    const connection = () => slow.ssm.send(new GetConnectionStatusCommand({ Target: InstanceId! }));
    expect((await connection()).Status).toBe('notconnected');
    expect(await refusal(command())).toBe('InvalidInstanceId 400');
    await slow.ec2.send(new StartInstancesCommand({ InstanceIds: [InstanceId!] }));
    await sleep(450);
    expect(await refusal(command())).toBeNull();
    await slow.close();
  });

  it('refuses what the service refuses', async () => {
    expect(await refusal(send('x'.repeat(70_000)))).toBe('MaxDocumentSizeExceeded 400');
    expect(await refusal(send('true', { TimeoutSeconds: 29 }))).toBe('ValidationException 400');
    expect(await refusal(send('true', {}, 'i-0123456789abcdef0'))).toBe('InvalidInstanceId 400');
    expect(await refusal(look('11111111-1111-1111-1111-111111111111'))).toBe('InvocationDoesNotExist 400');
  });

  it('lists commands with the beginning of their output', async () => {
    const id = await send('head -c 3000 /dev/zero | tr "\\0" a');
    await ended(id);
    const { CommandInvocations } = await at.ssm.send(
      new ListCommandInvocationsCommand({ CommandId: id, Details: true }),
    );
    expect(CommandInvocations).toMatchObject([{ InstanceId: box, Status: 'Success' }]);
    expect(CommandInvocations![0].CommandPlugins![0].Output).toHaveLength(2500);
  });

  async function launch() {
    const launched = await at.ec2.send(new RunInstancesCommand(machine));
    return { id: launched.Instances![0].InstanceId! };
  }
});
