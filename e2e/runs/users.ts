import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Nx, Running } from '../nx';
import type { World } from '../worlds';
import { ACCOUNT, LOCAL_IDENTITY } from '../../src/local-aws/protocol/identity';
import { begin, ENDLESS, outcome, RESULT, resultOf, STEPS, TRAINING } from './training';

const accessKeyId = 'AKIALOCALCOLLEAGUE01';

/** Another user of the same account. */
export const COLLEAGUE = {
  ...LOCAL_IDENTITY,
  accessKeyId,
  arn: `arn:aws:iam::${ACCOUNT}:user/colleague`,
  environment: { AWS_ACCESS_KEY_ID: accessKeyId },
};

/** Two people with the same files and one instance. */
export function users(at: () => World, colleague: () => Nx): void {
  const shared = (world: World, theirs: Nx, name: string, script: string, config: { [key: string]: unknown }) => {
    const instance = begin(world, name, script, config);
    theirs.project(name, script, { bucket: 'nx-ec2-local', instance, ...config });
    return join(world.aws.instances.disk(instance), 'root/runs');
  };

  it.concurrent.each([
    ['one tree', { tree: 'team' }],
    ['a tree for each', {}],
  ])('two who start the same training at once get one run, and each its files: %s', async (_, sync) => {
    const [world, theirs] = [at(), colleague()];
    const name = `same-${Object.keys(sync).length}`;
    const runs = shared(world, theirs, name, TRAINING, { sync, train: { args: '0.3' } });
    const both = await Promise.all([world.nx, theirs].map((nx) => nx.run([`${name}:remote-train`, '--json']).ends(0)));
    expect(both[0].id).toBe(both[1].id);
    expect(both.map(({ result }) => result.attached).filter(Boolean)).toEqual(['running']);
    for (const each of both) expect(each.steps).toEqual(STEPS);
    for (const nx of [world.nx, theirs]) expect(resultOf(nx, name)).toEqual(RESULT);
    expect(readdirSync(runs).filter((each) => each.includes(name))).toEqual([both[0].id]);
  });

  it.concurrent("a colleague's run is not stopped by any command without --force", async () => {
    const [world, theirs] = [at(), colleague()];
    const { nx } = world;
    shared(world, theirs, 'mine', ENDLESS, { train: { gracePeriod: '1s', onSignal: 'stop' } });
    const { id } = await nx.run(['mine:remote-submit']).ends(0);
    const none = await theirs.run(['mine:remote-cancel', '--json']).ends(1);
    expect(none.result.error.code).toBe('NO_RUN');
    const refused = await theirs.run(['mine:remote-cancel', `--run=${id}`, '--json']).ends(1);
    expect(refused.result.error).toMatchObject({ code: 'NOT_OWNER', message: expect.stringContaining('user/local') });
    const attached: Running = theirs.run(['mine:remote-train']);
    await attached.said('begun');
    attached.kill('SIGTERM');
    expect(await attached.ended).not.toBe(0);
    expect(attached.text).toContain(`Detached: ${id} continues`);
    const assertInstanceExists = await nx.run(['mine:remote-status', `--run=${id}`, '--json']).ends(0);
    expect(assertInstanceExists.result.runs[0]).toMatchObject({ state: 'running', stop: null });
    await theirs.run(['mine:remote-cancel', `--run=${id}`, '--force']).ends(0);
    expect(await outcome(nx, 'mine', id)).toBe('cancelled');
  });
}
