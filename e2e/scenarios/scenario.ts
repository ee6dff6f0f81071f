import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { aliveInstances, project, result, TOTAL } from '../instances/made';
import type { World } from '../worlds';
import type { Random } from './random';
import type { LocalAws } from '../../src/local-aws/types';

type Target = 'remote-up' | 'remote-train' | 'remote-submit' | 'remote-down';

interface Step {
  target: Target;
  /** SIGKILL after so many ms; null: it is left to its end. */
  kill: number | null;
  /** What happens meanwhile, after so many ms. */
  meanwhile: { after: number; what: (aws: LocalAws) => void } | null;
}

export interface Scenario {
  name: string;
  instance: object;
  steps: Step[];
  /** How it is left: after a training, after a remote-down, or as the last killed step left it. */
  end: 'trained' | 'down' | 'abandoned';
}

/** A randomized test of one project: targets are killed at any moment, and started again. */
export function imagine(name: string, random: Random): Scenario {
  const spot = random.percent(40);
  const instance = {
    ...(spot ? { spot: random.of<true | 'or-on-demand'>(true, 'or-on-demand') } : {}),
    // Long enough for a client on a busy machine: an instance that ends by itself while one is at work is no failure.
    maxLifetime: '180s',
    idleTimeout: '30s',
    onFinish: { failure: random.of('terminate', 'keep 5s') },
  };
  const meanwhile = (): Step['meanwhile'] => {
    if (!random.percent(50)) return null;
    const after = random.between(0, 2_500);
    return random.of(
      {
        after: 0,
        what: (aws: LocalAws) =>
          aws.capacity.add({ zone: `eu-west-1${random.of('a', 'b')}`, code: 'InsufficientInstanceCapacity', times: 1 }),
      },
      {
        after,
        what: (aws: LocalAws) =>
          aliveInstances(aws, name).forEach((id) => spot && aws.interrupt(id, { noticeMs: 3_000 })),
      },
      { after, what: (aws: LocalAws) => aliveInstances(aws, name).forEach((id) => aws.restartAgent(id)) },
    );
  };
  const steps = Array.from({ length: Math.floor(random.between(1, 4)) }, () => ({
    target: random.of<Target>('remote-up', 'remote-train', 'remote-train', 'remote-submit', 'remote-down'),
    kill: random.percent(80) ? random.between(100, 4_000) : null,
    meanwhile: meanwhile(),
  }));
  return { name, instance, steps, end: random.of('trained', 'down', 'abandoned') };
}

/** Lives it. Its shutdown rules end whatever is left. */
export async function live(world: World, environment: NodeJS.ProcessEnv, of: Scenario): Promise<void> {
  const { name } = of;
  project(world, name, of.instance, { args: '0.05' });
  const run = (target: Target, kill: number | null) => execute(world.nx.workspace, environment, name, target, kill);
  for (const { target, kill, meanwhile } of of.steps) {
    const timer = meanwhile && setTimeout(() => meanwhile.what(world.aws), meanwhile.after);
    await run(target, kill);
    clearTimeout(timer ?? undefined);
  }
  if (of.end === 'trained') {
    const { code, text } = await run('remote-train', null);
    if (code !== 0) throw new Error(`the training that was left to its end ended with ${code}:\n${text}`);
    const { total } = result(world, name);
    if (total !== TOTAL) throw new Error(`the result is ${total}`);
  } else if (of.end === 'down') {
    const { code, text } = await run('remote-down', null);
    if (code !== 0) throw new Error(`remote-down ended with ${code}:\n${text}`);
  }
}

/** When a target that does not end is killed, ms. */
const TARGET_TIMEOUT_MS = 600_000;

function execute(
  workspace: string,
  environment: NodeJS.ProcessEnv,
  name: string,
  target: Target,
  kill: number | null,
): Promise<{ code: number | null; text: string }> {
  const options = target === 'remote-down' ? { force: true } : {};
  const child = spawn(process.execPath, [join(__dirname, 'target.mjs'), name, target, JSON.stringify(options)], {
    cwd: workspace,
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (text += data.toString()));
  const timer = setTimeout(() => child.kill('SIGKILL'), kill ?? TARGET_TIMEOUT_MS);
  return new Promise((resolve) =>
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ code, text });
    }),
  );
}
