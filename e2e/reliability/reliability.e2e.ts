import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LOCAL_IDENTITY } from '../../src/local-aws/protocol/identity';
import type { Running } from '../nx';
import { Worlds, type World } from '../worlds';
import { promisesOf, withTable, type Row } from './table';

const root = join(__dirname, '../..');
const training = readFileSync(join(__dirname, '../training.py'), 'utf8');
const RESULT = { total: 650, began: 0 };
/** Far below all that a lost run could wait for by itself (its lease, its time limit); far above what a busy machine needs, ms. */
const FOUND_OUT_MS = 300_000;
const rows: Row[] = [];

const worlds = new Worlds('reliability');
const { directory, workspace } = worlds;
/** One more for each fault of the services, since it strikes all who use them. */
let calm: World;

beforeAll(async () => {
  worlds.install();
  calm = await worlds.make();
});

afterAll(() => worlds.close());

const onInstance = ({ aws }: World, instance: string, run: string): { supervisor: number } =>
  JSON.parse(readFileSync(join(aws.instances.disk(instance), 'root/runs', run, 'run.json'), 'utf8'));
const result = (project: string) =>
  JSON.parse(readFileSync(join(workspace, 'models', project, 'artifacts/result.json'), 'utf8'));

interface Start {
  world?: World;
  train?: object;
  environment?: NodeJS.ProcessEnv;
  script?: string;
  instance?: string;
}

/** Starts the training of a project of its own, up to its third step. */
async function begin(project: string, start: Start = {}): Promise<{ instance: string; first: Running }> {
  const world = start.world ?? calm;
  const instance = start.instance ?? world.launch();
  world.nx.project(project, start.script ?? training, { bucket: 'nx-ec2-local', instance, train: start.train });
  const first = world.nx.run([`${project}:remote-train`], start.environment);
  await first.said('step 3 of');
  return { instance, first };
}

/** What the store has of a run. */
async function kept(project: string, id: string, { nx } = calm): Promise<string> {
  const status = nx.run([`${project}:remote-status`, `--run=${id}`, '--json']);
  await status.ended;
  const [run] = status.result.runs;
  return [
    run.log.size > 0 && 'the log',
    run.checkpoints.length > 0 && 'checkpoints',
    run.artifacts?.files && 'artifacts',
    `outcome: ${run.outcome ?? run.state}${run.failure ? ` (${run.failure.code})` : ''}`,
  ]
    .filter(Boolean)
    .join(', ');
}

function tell(fault: string, project: string, first: Running, keeps: string, next: string): void {
  rows.push({ fault, sees: first.says(project).join('\n'), kept: keeps, next });
}

/** Every step once and in order. */
function expectSteps(steps: number[], from = 1, to = 12): void {
  expect(steps).toEqual(Array.from({ length: to - from + 1 }, (_, index) => from + index));
}

/** Another training resumes from the last checkpoint, and its result is the uninterrupted one. */
async function resumes(project: string, id: string, ...words: string[]): Promise<string> {
  const again = calm.nx.run([`${project}:remote-train`, `--resumeFrom=${id}`, ...words]);
  expect([await again.ended, again.text]).toEqual([0, expect.any(String)]);
  const { total, began } = result(project);
  expect(total).toBe(RESULT.total);
  expect(began).toBeGreaterThanOrEqual(1);
  expectSteps(again.steps, began + 1);
  return '--resumeFrom continues from the last checkpoint; the result is that of an uninterrupted run';
}

const NOTHING = 'none: the run has succeeded';

describe('what goes wrong while a training runs', () => {
  it.concurrent('the agent is restarted', async () => {
    const { instance, first } = await begin('fault-agent');
    calm.aws.restartAgent(instance);
    expect([await first.ended, first.text]).toEqual([0, expect.any(String)]);
    expectSteps(first.steps);
    expect(result('fault-agent')).toEqual(RESULT);
    tell('the SSM agent is restarted', 'fault-agent', first, await kept('fault-agent', first.id), NOTHING);
  });

  it.concurrent('the supervisor is killed', async () => {
    const { instance, first } = await begin('fault-supervisor');
    process.kill(onInstance(calm, instance, first.id).supervisor, 'SIGKILL');
    const since = Date.now();
    expect(await first.ended).toBe(1);
    expect(Date.now() - since).toBeLessThan(FOUND_OUT_MS);
    const keeps = await kept('fault-supervisor', first.id);
    tell('the supervisor is killed', 'fault-supervisor', first, keeps, await resumes('fault-supervisor', first.id));
  });

  it.concurrent('the training uses too much memory', async () => {
    const hungry = training.replace('while step < STEPS:', 'while step < STEPS:\n    hoard = b"x" * (step * 60 << 20)');
    const { first } = await begin('fault-memory', { train: { memory: '200MB' }, script: hungry });
    expect(await first.ended).toBe(1);
    const keeps = await kept('fault-memory', first.id);
    expect(keeps).toContain('OUT_OF_MEMORY');
    tell(
      'the training exceeds its memory limit',
      'fault-memory',
      first,
      keeps,
      'raise "train.memory"; then --resumeFrom',
    );
  });

  it.concurrent('the instance is rebooted', async () => {
    const { instance, first } = await begin('fault-reboot');
    const machine = calm.aws.instances.get(instance)!;
    calm.aws.instances.change(machine, 'stopped');
    calm.aws.instances.change(machine, 'running');
    const since = Date.now();
    expect(await first.ended).toBe(1);
    expect(Date.now() - since).toBeLessThan(FOUND_OUT_MS);
    const keeps = await kept('fault-reboot', first.id);
    tell('the instance is rebooted', 'fault-reboot', first, keeps, await resumes('fault-reboot', first.id));
  });

  it.concurrent('the instance is terminated', async () => {
    const { instance, first } = await begin('fault-terminated');
    calm.aws.instances.change(calm.aws.instances.get(instance)!, 'terminated');
    const since = Date.now();
    expect(await first.ended).toBe(1);
    expect(Date.now() - since).toBeLessThan(FOUND_OUT_MS);
    const keeps = await kept('fault-terminated', first.id);
    const log = calm.nx.run(['fault-terminated:remote-logs', `--run=${first.id}`]);
    expect(await log.ended).toBe(1);
    expect(log.steps.slice(0, 2)).toEqual([1, 2]);
    const next = await resumes('fault-terminated', first.id, `--instance=${calm.launch()}`);
    tell('the instance is terminated', 'fault-terminated', first, keeps, `on another instance, ${next}`);
  });

  it.concurrent('this machine is killed', async () => {
    const { first } = await begin('fault-laptop');
    first.kill('SIGKILL');
    await first.ended;
    const again = calm.nx.run(['fault-laptop:remote-train']);
    expect([await again.ended, again.text]).toEqual([0, expect.any(String)]);
    expect(again.id).toBe(first.id);
    expectSteps(again.steps);
    expect(result('fault-laptop')).toEqual(RESULT);
    tell(
      'the client is killed',
      'fault-laptop',
      first,
      await kept('fault-laptop', first.id),
      'the same command attaches, shows the log from its start, and downloads the results',
    );
  });

  const mounted = canMount();
  (mounted ? it.concurrent : it.skip)('the disk is full (needs root, to make a small one)', async () => {
    const instance = calm.launch();
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=48m', 'nx-ec2-test', calm.aws.instances.disk(instance)]);
    try {
      const greedy = training.replace(
        'while step < STEPS:',
        'while step < STEPS:\n    open("fill-%d" % step, "wb").write(os.urandom(step * 3 << 20))',
      );
      const { first } = await begin('fault-disk', { instance, script: greedy });
      expect(await first.ended).toBe(1);
      const keeps = await kept('fault-disk', first.id);
      expect(keeps).toContain('NO_SPACE');
      const log = calm.nx.run(['fault-disk:remote-logs', `--run=${first.id}`]);
      await log.ended;
      expect(log.text).toContain('No space left on device');
      tell(
        'the disk is full',
        'fault-disk',
        first,
        keeps,
        'free space, or set "remoteRoot" to a larger volume; then --resumeFrom',
      );
    } finally {
      calm.aws.instances.change(calm.aws.instances.get(instance)!, 'stopped');
      execFileSync('umount', ['-l', calm.aws.instances.disk(instance)]);
    }
  });

  it.concurrent('the network is cut for a minute', async () => {
    const world = await worlds.make();
    const { first } = await begin('fault-network', { world, train: { args: '7' } });
    const cut = { cut: 'before' as const, times: Infinity };
    world.aws.faults.add({ link: 'client', ...cut });
    world.aws.faults.add({ service: 'session', frame: 'cut', times: Infinity });
    await first.said('Lost the connection');
    await new Promise((resolve) => setTimeout(resolve, 60_000));
    world.aws.faults.clear();
    expect([await first.ended, first.text]).toEqual([0, expect.any(String)]);
    expectSteps(first.steps);
    expect(result('fault-network')).toEqual(RESULT);
    tell(
      'the network is cut for a minute',
      'fault-network',
      first,
      await kept('fault-network', first.id, world),
      NOTHING,
    );
  });

  it.concurrent('the instance has no network for a minute', async () => {
    const world = await worlds.make();
    const { first } = await begin('fault-cutoff', { world, train: { args: '7' } });
    world.aws.faults.add({ link: 'instance', cut: 'before', times: Infinity });
    await new Promise((resolve) => setTimeout(resolve, 60_000));
    world.aws.faults.clear();
    expect([await first.ended, first.text]).toEqual([0, expect.any(String)]);
    expectSteps(first.steps);
    tell(
      "the instance can't reach S3 for a minute",
      'fault-cutoff',
      first,
      await kept('fault-cutoff', first.id, world),
      NOTHING,
    );
  });

  it.concurrent("this machine's clock is off by a quarter of an hour", async () => {
    const skew = join(directory, 'skew.js');
    writeFileSync(
      skew,
      'const now = Date.now; Date.now = () => now() + 900000; const D = Date; globalThis.Date = class extends D { constructor(...a) { a.length ? super(...a) : super(D.now()); } };\n',
    );
    const { first } = await begin('fault-clock', { environment: { NODE_OPTIONS: `--require ${skew}` } });
    expect([await first.ended, first.text]).toEqual([0, expect.any(String)]);
    expectSteps(first.steps);
    expect(result('fault-clock')).toEqual(RESULT);
    tell("the client's clock is 15 minutes ahead", 'fault-clock', first, await kept('fault-clock', first.id), NOTHING);
  });

  it.concurrent('AWS throttles', async () => {
    const world = await worlds.make();
    const { first } = await begin('fault-throttled', { world });
    world.aws.faults.add({
      service: 'ssm',
      error: { code: 'ThrottlingException', message: 'Rate exceeded' },
      times: 12,
    });
    world.aws.faults.add({
      service: 's3',
      error: { code: 'SlowDown', message: 'Please reduce your request rate.', status: 503 },
      times: 40,
    });
    expect([await first.ended, first.text]).toEqual([0, expect.any(String)]);
    expectSteps(first.steps);
    expect(result('fault-throttled')).toEqual(RESULT);
    tell(
      'AWS throttles (12 × SSM, 40 × S3)',
      'fault-throttled',
      first,
      await kept('fault-throttled', first.id, world),
      NOTHING,
    );
  });

  it.concurrent('the credentials expire', async () => {
    const identity = {
      ...LOCAL_IDENTITY,
      accessKeyId: 'ASIALOCALSHORTLIVED1',
      session: { token: 'short-lived', expires: Infinity },
    };
    const world = await worlds.make([identity]);
    const environment = { AWS_ACCESS_KEY_ID: identity.accessKeyId, AWS_SESSION_TOKEN: identity.session.token };
    const { first } = await begin('fault-credentials', { world, environment });
    identity.session.expires = Date.now() - 1;
    expect(await first.ended).toBe(1);
    const again = world.nx.run(['fault-credentials:remote-train']);
    expect([await again.ended, again.text]).toEqual([0, expect.any(String)]);
    expect(again.id).toBe(first.id);
    expectSteps(again.steps);
    expect(result('fault-credentials')).toEqual(RESULT);
    tell(
      'the credentials expire',
      'fault-credentials',
      first,
      await kept('fault-credentials', first.id, world),
      'sign in; the same command attaches, shows the log from its start, and downloads the results',
    );
  });

  it.concurrent('the command is sent twice', async () => {
    const world = await worlds.make();
    // The answer is lost, and the SDK asks again: SSM knows no token by which it could tell.
    world.aws.faults.add({ service: 'ssm', action: 'SendCommand', cut: 'after' });
    const { instance, first } = await begin('fault-twice', { world });
    expect([await first.ended, first.text]).toEqual([0, expect.any(String)]);
    expectSteps(first.steps);
    expect(world.aws.commands.length).toBeGreaterThanOrEqual(2);
    expect(readdirSync(join(world.aws.instances.disk(instance), 'root/runs'))).toEqual([first.id]);
    tell(
      'the command that starts the run arrives twice',
      'fault-twice',
      first,
      await kept('fault-twice', first.id, world),
      'none: the run was started once',
    );
  });
});

it('docs/explanation/reliability.md says what these tests have seen', () => {
  const path = join(root, 'docs/explanation/reliability.md');
  const page = readFileSync(path, 'utf8');
  const order = [...rows].sort((a, b) => a.fault.localeCompare(b.fault));
  const made = withTable(page, order);
  if (process.env.NX_EC2_WRITE_DOCS) writeFileSync(path, made);
  const known = promisesOf(process.env.NX_EC2_WRITE_DOCS ? made : page);
  for (const row of promisesOf(made)) expect(known).toContain(row);
});

/** Whether this user may mount a small disk. */
function canMount(): boolean {
  const at = mkdtempSync(join(tmpdir(), 'nx-ec2-mount-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'nx-ec2-test', at], { stdio: 'ignore' });
    execFileSync('umount', [at], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  } finally {
    rmSync(at, { recursive: true, force: true });
  }
}
