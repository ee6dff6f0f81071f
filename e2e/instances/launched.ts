import { until } from '../../src/system/until.fixture';
import type { World } from '../worlds';
import { gone, aliveInstances, launchedFor, project, result, TOTAL } from './made';

/** An instance is launched for a training, and terminated after it. */
export function launched(at: () => World): void {
  it('one nx run launches an instance, trains, and terminates it', async () => {
    const world = at();
    project(world, 'whole');
    const train = await world.nx.run(['whole:remote-train', '--args=0.05', '--json']).ends(0);
    expect(result(world, 'whole')).toEqual({ total: TOTAL, began: 0 });
    expect(aliveInstances(world.aws, 'whole')).toEqual([]);
    const [instance, ...more] = launchedFor(world.aws, 'whole');
    expect(more).toEqual([]);
    expect(train.text).toMatch(/t3\.micro/);
    expect(train.text).toContain(instance.id);
    expect(instance).toMatchObject({ state: 'terminated', tags: { 'nx-ec2:managed': 'true', 'nx-ec2:run': train.id } });
  });

  it('trains on two instances together, and shows the log of each', async () => {
    const world = at();
    project(world, 'pair', {}, { nodes: 2 });
    const train = await world.nx.run(['pair:remote-train', '--args=0.05', '--json']).ends(0);
    expect(result(world, 'pair')).toEqual({ total: TOTAL, began: 0 });
    expect(train.text).toMatch(/all 2 nodes are ready: attempt 1 begins\n(.*\n)*.*step 12 of 12/);
    expect(launchedFor(world.aws, 'pair').map(({ state }) => state)).toEqual(['terminated', 'terminated']);
    const logs = await world.nx.run(['pair:remote-logs', `--run=${train.id}`, '--node=1']).ends(0);
    expect(logs.text).toMatch(/node 1 of 2 .*\n(.*\n)*.*step 12 of 12/);
  });

  it('launches in the next zone if the first has no capacity, and says so', async () => {
    const world = at();
    project(world, 'zones');
    world.aws.capacity.add({ zone: 'eu-west-1a', code: 'InsufficientInstanceCapacity' });
    try {
      const train = await world.nx.run(['zones:remote-train', '--args=0.05']).ends(0);
      expect(train.text).toMatch(/eu-west-1a.*InsufficientInstanceCapacity/);
      expect(launchedFor(world.aws, 'zones').map(({ zone }) => zone)).toEqual(['eu-west-1b']);
    } finally {
      world.aws.capacity.clear();
    }
  });

  it('waits for an instance profile that EC2 does not know yet', async () => {
    const world = at();
    world.aws.profiles.arrive('late', 3_600_000);
    project(world, 'late', { instanceProfile: 'late' });
    const train = world.nx.run(['late:remote-train', '--args=0.05']);
    await train.said('does not know the instance profile yet');
    world.aws.profiles.arrive('late', 0);
    await train.ends(0);
    expect(launchedFor(world.aws, 'late')).toHaveLength(1);
  });

  it('fails with a clear message if Systems Manager never reaches the instance, and terminates it', async () => {
    const world = at();
    project(world, 'mute', { startupTimeout: '4s' });
    world.aws.instances.agentDelay = Infinity;
    try {
      const train = world.nx.run(['mute:remote-train', '--json']);
      expect(await train.ended).not.toBe(0);
      expect(train.result.error.code).toBe('SSM_OFFLINE');
      expect(aliveInstances(world.aws, 'mute')).toEqual([]);
      expect(launchedFor(world.aws, 'mute')).toHaveLength(1);
    } finally {
      world.aws.instances.agentDelay = 0;
    }
  });

  it('launches another instance if the running one ends while the training starts', async () => {
    const world = at();
    project(world, 'swept');
    await world.nx.run(['swept:remote-up']).ends(0);
    const [first] = launchedFor(world.aws, 'swept');
    const train = world.nx.run(['swept:remote-train', '--args=0.05']);
    const begun = () =>
      world.aws.commands.some(({ instance, comment }) => instance === first.id && /train/.test(comment));
    await until(begun, { everyMs: 5 });
    world.aws.instances.change(first, 'terminated');
    await train.ends(0);
    expect(train.text).toContain(`${first.id} ended before the training started there`);
    expect(result(world, 'swept').total).toBe(TOTAL);
    expect(launchedFor(world.aws, 'swept')).toHaveLength(2);
    expect(aliveInstances(world.aws, 'swept')).toEqual([]);
  });

  it('keeps the instance of a failed training for some time, so that the same command can use it', async () => {
    const world = at();
    project(world, 'fails', { onFinish: { failure: 'keep 6s' } }, {}, 'import sys; print("step 1 of 1"); sys.exit(3)');
    const train = world.nx.run(['fails:remote-train']);
    expect(await train.ended).not.toBe(0);
    expect(train.text).toMatch(/is kept for 6\.0 s/);
    expect(aliveInstances(world.aws, 'fails')).toHaveLength(1);
    await gone(world.aws, 'fails');
  });

  it('a killed client leaves the instance to its shutdown rules, and the same command attaches again', async () => {
    const world = at();
    project(world, 'closed');
    const first = world.nx.run(['closed:remote-train', '--args=1']);
    await first.said('step 2 of');
    first.kill('SIGKILL');
    const again = await world.nx.run(['closed:remote-train', '--args=1']).ends(0);
    expect(again.text).toContain('attached');
    expect(again.id).toBe(first.id);
    expect(result(world, 'closed')).toEqual({ total: TOTAL, began: 0 });
    await gone(world.aws, 'closed');
    expect(launchedFor(world.aws, 'closed')).toHaveLength(1);
  });

  it('remote-up launches an instance, which a training uses and keeps, until remote-down', async () => {
    const world = at();
    project(world, 'warm');
    const up = await world.nx.run(['warm:remote-up', '--json']).ends(0);
    const again = await world.nx.run(['warm:remote-up', '--json']).ends(0);
    expect(again.result.instance).toBe(up.result.instance);
    await world.nx.run(['warm:remote-train', '--args=0.05']).ends(0);
    expect(aliveInstances(world.aws, 'warm')).toEqual([up.result.instance]);
    await world.nx.run(['warm:remote-down', '--stop']).ends(0);
    expect(launchedFor(world.aws, 'warm')[0].state).toBe('stopped');
    const third = await world.nx.run(['warm:remote-up', '--json']).ends(0);
    expect(third.result.instance).toBe(up.result.instance);
    await world.nx.run(['warm:remote-down']).ends(0);
    expect(aliveInstances(world.aws, 'warm')).toEqual([]);
    const none = await world.nx.run(['warm:remote-down']).ends(0);
    expect(none.text).toMatch(/No instance|nothing/i);
  });
}
