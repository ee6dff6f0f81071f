import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import { SendCommandCommand } from '@aws-sdk/client-ssm';
import { Workshop } from '../../executors/lib/executor-harness.fixture';
import { until } from '../../system/until.fixture';
import { removeGroup, runGroups } from './run-groups';

/** Without the variables by which the processes of an instance are marked, and in a session of its own. */
const CLEARED = `
import os, sys, time
file = sys.argv[1]
if len(sys.argv) == 2:
    os.execve(sys.executable, [sys.executable, __file__, file, "again"], {"PATH": os.environ["PATH"]})
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
with open(file, "a") as pids:
    pids.write("%d\\n" % os.getpid())
time.sleep(600)
`;

describe('the processes of an instance that cleared their environment', () => {
  let shop: Workshop;
  let directory: string;
  beforeEach(async () => {
    shop = await Workshop.open();
    directory = mkdtempSync(join(tmpdir(), 'nx-ec2-processes-'));
  });
  afterEach(async () => {
    await shop.close();
    rmSync(directory, { recursive: true });
  });

  /** Starts a training of two processes, and waits until both have cleared their environment. */
  async function train(): Promise<number[]> {
    const file = join(directory, 'pids');
    shop.write('model/train.py', CLEARED);
    await shop.run('remote-submit', { train: { script: 'train.py', environment: 'none' }, args: file });
    const pids = () => (existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').map(Number) : []);
    await until(() => pids().length === 2);
    expect(pids().filter(isAlive)).toEqual(pids());
    return pids();
  }
  const disk = () => shop.at.aws.instances.disk(shop.instance);

  it('end when the instance is terminated', async () => {
    const pids = await train();
    const groups = runGroups(shop.instance, disk());
    await shop.at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [shop.instance] }));
    expect(pids.filter(isAlive)).toEqual([]);
    expect(groups.filter((path) => existsSync(path))).toEqual([]);
  });

  it('end with local AWS, also without a control group', async () => {
    const pids = await train();
    const groups = runGroups(shop.instance, disk());
    for (const run of readdirSync(join(disk(), 'root/runs')))
      rmSync(join(disk(), 'root/runs', run, 'cgroup'), { force: true });
    await shop.at.aws.close();
    expect(pids.filter(isAlive)).toEqual([]);
    groups.forEach(removeGroup);
  });

  it('end if a command started them', async () => {
    const file = join(directory, 'pid');
    await command(`env -i /bin/sh -c 'echo $$ > ${file}; exec /bin/sleep 600' & wait`);
    const pid = await until(() => (existsSync(file) ? Number(readFileSync(file, 'utf8')) : null));
    shop.at.aws.instances.endProcesses(shop.instance);
    expect(isAlive(pid)).toBe(false);
  });

  it('are not those that a training names in place of its control group', async () => {
    const sleep = spawn('sleep', ['600']);
    const run = join(disk(), 'root/runs/forged');
    const forged = join(directory, `nx-ec2-${shop.instance}-forged`);
    for (const each of [run, forged]) mkdirSync(each, { recursive: true });
    writeFileSync(join(forged, 'cgroup.procs'), `${sleep.pid}\n`);
    writeFileSync(join(run, 'cgroup'), forged);
    shop.at.aws.instances.endProcesses(shop.instance);
    expect(isAlive(sleep.pid!)).toBe(true);
    expect(existsSync(forged)).toBe(true);
    sleep.kill();
  });

  async function command(script: string): Promise<void> {
    const Parameters = { commands: [script] };
    await shop.at.ssm.send(
      new SendCommandCommand({ DocumentName: 'AWS-RunShellScript', InstanceIds: [shop.instance], Parameters }),
    );
  }
});

/** Whether it runs: a zombie has ended. */
function isAlive(pid: number): boolean {
  try {
    return !execFileSync('ps', ['-o', 'stat=', '-p', `${pid}`], { encoding: 'utf8' }).startsWith('Z');
  } catch {
    return false;
  }
}
