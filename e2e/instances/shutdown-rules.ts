import { instanceType, onDemandPrice } from '../../src/local-aws/catalog/instance-types';
import type { World } from '../worlds';
import { gone, aliveInstances, launchedFor, project } from './made';

/** Sleeps without output and without processor time. */
const SILENT = 'import time; print("begun", flush=True); time.sleep(600)';

/** USD an hour. */
const PRICE = onDemandPrice(instanceType('t3.micro')!);

/** Each shutdown rule ends an instance without a client. */
export function shutdownRules(at: () => World): void {
  /** What the store says of a run whose instance is gone. */
  const outcome = async (name: string, id: string) => {
    const status = await at()
      .nx.run([`${name}:remote-status`, `--run=${id}`, '--json'])
      .ends(0);
    const [run] = status.result.runs;
    return [run.outcome, run.stop?.reason];
  };
  const abandoned = async (name: string, instance: object) => {
    const world = at();
    project(world, name, instance, {}, SILENT);
    const train = world.nx.run([`${name}:remote-train`]);
    await train.said('begun');
    train.kill('SIGKILL');
    await gone(world.aws, name);
    expect(launchedFor(world.aws, name)).toHaveLength(1);
    return outcome(name, train.id);
  };

  it.concurrent('an instance is terminated after its lifetime', async () => {
    expect(await abandoned('lifetime', { maxLifetime: '12s' })).toEqual(['interrupted', 'lifetime']);
  });

  it.concurrent('an instance is terminated when it has cost its limit', async () => {
    // A minute, which is the least that a launch is for, of what local AWS asks for an hour of this type.
    expect(await abandoned('cost', { maxCost: (PRICE / 3600) * 61 })).toEqual(['interrupted', 'cost']);
  });

  it.concurrent('a run that hangs is stopped', async () => {
    expect(await abandoned('hung', { idleTimeout: '8s' })).toEqual(['interrupted', 'hung']);
  });

  it.concurrent('an idle instance is terminated', async () => {
    const world = at();
    project(world, 'idle', { idleTimeout: '8s' });
    await world.nx.run(['idle:remote-up']).ends(0);
    expect(aliveInstances(world.aws, 'idle')).toHaveLength(1);
    await gone(world.aws, 'idle');
  });
}
