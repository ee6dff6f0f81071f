import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  DescribeInstancesCommand,
  RebootInstancesCommand,
  RunInstancesCommand,
  StartInstancesCommand,
  StopInstancesCommand,
} from '@aws-sdk/client-ec2';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import type { PollReply } from '../../command/plan';
import { Pipeline, startPipeline } from '../../run/pipeline.fixture';
import { userData, type WatchdogConfig } from './user-data';
import { until } from '../../system/until.fixture';

/** The shutdown rules as they work on an instance: by its user data, without a client. */
describe('the watchdog of an instance', () => {
  let at: Fixture;
  let pipe: Pipeline;
  beforeAll(async () => void (at = await startPipeline()));
  afterAll(() => at.close());
  beforeEach(() => void (pipe = new Pipeline(at, 'auto')));
  afterEach(() => {
    at.aws.faults.clear();
    if (pipe.context) pipe.close();
    for (const each of at.aws.instances.all())
      if (each.tags.Name !== 'box') at.aws.instances.change(each, 'terminated');
  });

  const NO_GUARD: WatchdogConfig = {
    v: 1,
    root: null,
    lifetime: 3600,
    because: 'lifetime',
    deadline: null,
    idle: null,
    start: null,
    finish: null,
    shutdown: 'terminate',
    boot: null,
  };
  const launch = async (config: Partial<WatchdogConfig>, own?: string): Promise<string> => {
    const whole = { ...NO_GUARD, ...config };
    const command = new RunInstancesCommand({
      ImageId: 'ami-00000000000000001',
      MinCount: 1,
      MaxCount: 1,
      IamInstanceProfile: { Name: 'training' },
      InstanceInitiatedShutdownBehavior: whole.shutdown,
      UserData: userData(whole, own).toString('base64'),
    });
    return (await at.ec2.send(command)).Instances![0].InstanceId!;
  };
  const told = async (id: string) =>
    (await at.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }))).Reservations![0].Instances![0];
  const ends = async (id: string, state = 'terminated') => {
    await until(async () => (await told(id)).State!.Name === state);
    expect((await told(id)).StateReason!.Code).toBe('Client.InstanceInitiatedShutdown');
  };
  const file = (id: string, name: string) => join(at.aws.instances.disk(id), 'root', 'watchdog', name);
  const log = (id: string) => (existsSync(file(id, 'log')) ? readFileSync(file(id, 'log'), 'utf8') : '');
  /** Starts a training on it. */
  const train = async (id: string, script: string, more: object = {}) => {
    await pipe.open({ instance: id });
    pipe.write('model/train.py', script);
    return (await pipe.train(more)).run;
  };
  const LASTING = 'import time\nwhile True:\n  print("on", flush=True)\n  time.sleep(0.2)\n';

  it('ends its run, saves it, and terminates the instance when the lifetime is over', async () => {
    const id = await launch({ lifetime: 7 });
    const run = await train(id, LASTING);
    const { run: record } = await pipe.follow(run);
    expect(record).toMatchObject({ state: 'ended', outcome: 'interrupted', stop: { reason: 'lifetime' } });
    await ends(id);
  });

  it('counts the lifetime from the launch, through reboots, and anew from a start after a stop', async () => {
    const id = await launch({ lifetime: 16, shutdown: 'stop' });
    const launched = (await told(id)).LaunchTime!;
    const left = () => (log(id).match(/\d+(?= s at the latest)/g) ?? []).map(Number);
    for (const [boots, age] of [4, 8].entries()) {
      await until(() => left().length > boots);
      await until(() => Date.now() >= launched.getTime() + age * 1000);
      await at.ec2.send(new RebootInstancesCommand({ InstanceIds: [id] }));
    }
    await ends(id, 'stopped');
    expect((await told(id)).LaunchTime).toEqual(launched);
    const lines = left();
    expect(lines).toHaveLength(3);
    expect(lines[1]).toBeLessThanOrEqual(12);
    expect(lines[2]).toBeLessThanOrEqual(8);
    await at.ec2.send(new StartInstancesCommand({ InstanceIds: [id] }));
    expect((await told(id)).LaunchTime!.getTime()).toBeGreaterThan(launched.getTime());
    await until(() => left().length > lines.length);
    expect(left().at(-1)).toBeGreaterThan(12);
  });

  it('terminates an idle instance, or stops it if the configuration says so', async () => {
    const id = await launch({ idle: 2, shutdown: 'stop' }, '#!/bin/sh\necho mine > made\n');
    await until(() => existsSync(join(at.aws.instances.disk(id), 'made')));
    const began = Date.now();
    await ends(id, 'stopped');
    expect(Date.now() - began).toBeGreaterThan(1000);
    expect(log(id)).toMatch(/ends: idle/);
    // What it is armed with, it is armed with at each boot; the script is for the first alone.
    await at.ec2.send(new StartInstancesCommand({ InstanceIds: [id] }));
    await ends(id, 'stopped');
    expect(log(id).match(/ends: idle/g)).toHaveLength(2);
  });

  it('terminates the instance if no run starts', async () => {
    await ends(await launch({ start: 2 }));
  });

  it('stops a hung run, and not one that works', async () => {
    const id = await launch({ idle: 4 });
    const run = await train(id, 'import time\nprint("waits", flush=True)\ntime.sleep(600)\n');
    const { run: record } = await pipe.follow(run);
    expect(record).toMatchObject({ outcome: 'interrupted', stop: { reason: 'hung' } });
    pipe.write('model/train.py', 'import time\nend = time.time() + 9\nwhile time.time() < end: pass\n');
    const again = await pipe.train();
    const { run: second } = await pipe.follow(again.run);
    expect(second).toMatchObject({ outcome: 'succeeded' });
    await ends(id);
  });

  it('ends the instance after its last run, as the outcome of the run decides', async () => {
    const id = await launch({ finish: { success: 0, failure: 4 } });
    const failed = await pipe.follow(await train(id, 'raise SystemExit(3)\n'));
    expect(failed.run.outcome).toBe('failed');
    // Another one within its time takes it back.
    const { run } = await pipe.follow(await train(id, 'import time\ntime.sleep(5)\n'));
    expect(run.outcome).toBe('succeeded');
    await ends(id);
    const kept = await launch({ finish: { success: null, failure: 2 } });
    await pipe.follow(await train(kept, 'raise SystemExit(3)\n'));
    await ends(kept);
  });

  it('keeps the instance for a run below another root, which the run can be asked for below any root', async () => {
    const id = await launch({ finish: { success: 0, failure: 3 } });
    const failed = await pipe.follow(await train(id, 'raise SystemExit(3)\n'));
    expect(failed.run.outcome).toBe('failed');
    const remoteRoot = mkdtempSync(join(tmpdir(), 'nx-ec2-other-root-'));
    await pipe.open({ instance: id, remoteRoot });
    pipe.write('model/train.py', 'import time\ntime.sleep(8)\n');
    const { run } = await pipe.train();
    expect(run.directory).toContain(remoteRoot);
    await pipe.open({ instance: id });
    const { remote } = pipe.context.at(id);
    expect(await remote.send({ op: 'activity', watchdog: true }, { comment: 'activity' })).toMatchObject({
      runs: [run.id],
    });
    const poll = await remote.send<PollReply>({ op: 'poll', run: run.id, offset: 0 }, { comment: 'poll' });
    expect(poll.run).toMatchObject({ id: run.id, outcome: null });
    expect((await pipe.follow(run)).run.outcome).toBe('succeeded');
    await ends(id);
    rmSync(remoteRoot, { recursive: true });
  });

  it('terminates the instance without access to any other network', async () => {
    at.aws.faults.add({ link: 'instance', cut: 'before', times: 1e9 });
    const id = await launch({ lifetime: 2 });
    at.aws.role(id).name = null;
    await ends(id);
  });

  it('continues after it is killed, and after the next boot if all of its processes are', async () => {
    const id = await launch({ lifetime: 600, start: 12 });
    const state = () => JSON.parse(readFileSync(file(id, 'state.json'), 'utf8')) as { boot: string };
    await until(() => /at the latest/.test(log(id)) && existsSync(file(id, 'state.json')));
    const { boot } = state();
    const [pid] = at.aws.instances.processes(id).slice(-1);
    process.kill(pid, 'SIGKILL');
    await until(() => (log(id).match(/at the latest/g) ?? []).length === 2);
    expect(state().boot).toBe(boot);
    at.aws.instances.endProcesses(id);
    await at.ec2.send(new RebootInstancesCommand({ InstanceIds: [id] }));
    await until(() => (log(id).match(/at the latest/g) ?? []).length === 3);
    await until(() => state().boot !== boot);
    await at.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }));
    expect(at.aws.instances.processes(id)).toEqual([]);
  });
});
