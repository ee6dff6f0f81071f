import { hash } from 'node:crypto';
import { specHash, TAG } from '../../instance/describe/ownership';
import { launchSpecOf } from '../../instance/launch/ensure-instance.fixture';
import { describeInstances, launchTagged } from '../../instance/stop/tagged.fixture';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import type { RunContext } from '../../context/types';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import { LAUNCH_WAIT } from './after-launch';
import { takeDownProject } from './take-down-project';

/** Whoever writes below the prefix can write the journal of a launch. */
describe('remote-down while another client keeps changing the launch journal', () => {
  const { timeout } = LAUNCH_WAIT;
  let at: Fixture;
  let pipe: Pipeline;
  let context: RunContext;
  let versions = 0;
  beforeAll(async () => {
    at = await startPipeline();
    pipe = await new Pipeline(at, 'store').open();
    const { configuration } = pipe.context;
    const instance = { launchSpec: launchSpecOf({}), startupTimeout: configuration.instance.startupTimeout };
    context = { ...pipe.context, configuration: { ...configuration, instance } };
  });
  beforeEach(() => {
    LAUNCH_WAIT.timeout = 3_000;
    versions = pipe.said.length = 0;
  });
  afterEach(() => {
    LAUNCH_WAIT.timeout = timeout;
    jest.restoreAllMocks();
  });
  afterAll(async () => {
    pipe.close();
    await at.close();
  });

  const down = async (stop = false) => takeDownProject(context, await context.owner(), { stop, force: false });
  /** A launch that is always of this moment: another one each time that it is read. */
  const change = async (count = 1) => {
    const { store, keys } = context;
    const key = keys.launch(specHash(await context.owner(), launchSpecOf({}), count));
    const read = store.getWithETag.bind(store);
    jest.spyOn(store, 'getWithETag').mockImplementation(async (name, limit, options) => {
      if (name === key) {
        const generation = hash('sha256', `${++versions}`, 'hex').slice(0, 16);
        const option = { type: 't3.micro', subnet: 'subnet-1', zone: 'eu-west-1a', market: 'on-demand' };
        const state = { v: 1, generation, at: Date.now(), launchOptions: [option], n: 0, refused: [], instance: null };
        await store.put(key, Buffer.from(JSON.stringify(state)));
      }
      return read(name, limit, options);
    });
  };
  const ours = async () => {
    const { workspace, project, caller } = await context.owner();
    return {
      [TAG.managed]: 'true',
      [TAG.workspace]: workspace,
      [TAG.project]: project,
      [TAG.owner]: caller,
      [TAG.store]: 'bucket/',
    };
  };

  it('terminates what EC2 lists once its time is over, and fails: it says why, what it did and what to type', async () => {
    await change();
    const id = await launchTagged(at, await ours());
    const began = performance.now();
    await expect(down()).rejects.toMatchObject({
      code: 'STORE_CHANGED',
      message: expect.stringMatching(
        new RegExp(
          `still changing after 3\\.0 s \\(\\d+ versions\\), so an instance may still be launched\\. Terminated what EC2 lists: ${id}\\.`,
        ),
      ),
      next: expect.stringMatching(
        /then run again: nx run .*:remote-down\nTo see all instances: npx nx-ec2 instances list$/,
      ),
    });
    expect(performance.now() - began).toBeLessThan(30_000);
    expect(versions).toBeGreaterThan(1);
    expect((await describeInstances(at, id))[0].state).toBe('terminated');
    expect(pipe.said.join('\n')).toMatch(/waiting up to 3\.0 s until EC2 lists its instance/);
  });

  it('fails as well if EC2 lists none, which would be no proof', async () => {
    await change();
    await expect(down()).rejects.toMatchObject({
      code: 'STORE_CHANGED',
      message: expect.stringMatching(/EC2 lists no instance of the project\.$/m),
    });
  });

  it('succeeds once the launch is seen to be over', async () => {
    await change();
    const waits = down();
    while (versions < 2) await new Promise((resolve) => setTimeout(resolve, 50));
    const id = await launchTagged(at, {
      ...(await ours()),
      [TAG.key]: specHash(await context.owner(), launchSpecOf({})),
    });
    expect(await waits).toEqual([id]);
  });

  it('succeeds once all nodes of a launch are seen', async () => {
    const { configuration } = context;
    const nodes = { ...context, configuration: { ...configuration, train: { ...configuration.train, nodes: 2 } } };
    LAUNCH_WAIT.timeout = 60_000;
    await change(2);
    const launched = async () =>
      launchTagged(at, {
        ...(await ours()),
        [TAG.key]: specHash(await context.owner(), launchSpecOf({}), 2),
      });
    const first = await launched();
    const waits = takeDownProject(nodes, await context.owner(), { stop: false, force: false });
    const seen = versions + 2;
    while (versions < seen) await new Promise((resolve) => setTimeout(resolve, 50));
    const second = await launched();
    expect((await waits).sort()).toEqual([first, second].sort());
  });
});
