import type { World } from '../worlds';
import { until } from '../../src/system/until.fixture';
import { begin, TRAINING } from './training';

/** Commands beside trainings. */
export function exec(at: () => World): void {
  it.concurrent('runs a command among the synced files, or in a run, and exits with its exit code', async () => {
    const world = at();
    const { nx, aws } = world;
    const instance = begin(world, 'beside', TRAINING, { train: { args: '0.1', env: { FLAVOUR: 'sour' } } });
    const early = await nx.run(['beside:remote-exec', '--command=true', '--json']).ends(1);
    expect(early.result.error).toMatchObject({ code: 'NO_TREE' });
    const { id } = await nx.run(['beside:remote-train']).ends(0);
    const failed = await nx.run(['beside:remote-exec', `--command=sh -c 'ls; echo "a  b"; exit 7'`, '--json']).ends(1);
    expect(failed.text).toMatch(/train\.py[^]*a {2}b/);
    expect(failed.result).toMatchObject({ success: false, exitCode: 7, error: { code: 'COMMAND_FAILED' } });
    const inside = await nx
      .run(['beside:remote-exec', '--run=last', `--command=sh -c 'echo $NX_EC2_RUN_ID $FLAVOUR; ls artifacts'`])
      .ends(0);
    expect(inside.text).toContain(`${id} sour`);
    expect(inside.text).toContain('result.json');
    const endless = nx.run(['beside:remote-exec', `--command=sh -c 'echo be""gun; exec sleep 987'`, '--json']);
    await endless.said('begun');
    const asleep = () => aws.instances.processes(instance).length;
    expect(asleep()).toBeGreaterThan(0);
    endless.kill('SIGINT');
    expect(await endless.ended).not.toBe(0);
    await until(() => asleep() === 0);
  });
}
