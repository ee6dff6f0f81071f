import { DeleteFleetsCommand, DeleteLaunchTemplateCommand, TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import type { EnsuredInstance } from '../instance/launch/ensure-instance';
import { SHUTDOWN, terminateUnused, waitForShutdown } from './start/run-instance';
import { cancelRun } from './stop/cancel';
import { endInterrupted } from './start/end-interrupted';
import { cancelBetweenInstances } from './fleet/cancel-fleet';
import { Pipeline, startPipeline } from './pipeline.fixture';
import type { RunRecord } from './record/record';
import { putRecord, recordOf, RUN } from './record/saved-run.fixture';
import { createRunContext } from '../context/context';
import { TAG } from '../instance/describe/ownership';
import { describeInstances, fleetTagged, launchTagged } from '../instance/stop/tagged.fixture';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { Problem } from '../report/problem';
import type { RunContext } from '../context/types';
import { until } from '../system/until.fixture';

const OTHER = 'arn:aws:iam::123456789012:user/bea';
const OTHER_RUN = '20260101-000000-model-ghijkl';

/** Whoever writes to the bucket can have a record, a journal or a list name any instance. */
describe('what a forged record names', () => {
  let at: Fixture;
  let pipe: Pipeline;
  let ours: Record<string, string>;
  const signal = new AbortController().signal;
  const timeout = SHUTDOWN.timeout;

  beforeAll(async () => {
    at = await startPipeline();
    pipe = await new Pipeline(at, 'store').open();
    const owner = await pipe.context.owner();
    ours = {
      [TAG.managed]: 'true',
      [TAG.workspace]: owner.workspace,
      [TAG.project]: owner.project,
      [TAG.owner]: owner.caller,
      [TAG.store]: 'bucket/',
      [TAG.run]: RUN,
      [TAG.finish]: 'terminate 0 0',
    };
    SHUTDOWN.timeout = 0;
  });
  afterAll(async () => {
    SHUTDOWN.timeout = timeout;
    pipe.close();
    await at.close();
  });

  const launch = (more: Record<string, string | undefined> = {}) => {
    const tags = Object.entries({ ...ours, ...more }).filter((each): each is [string, string] => each[1] !== undefined);
    return launchTagged(at, Object.fromEntries(tags));
  };
  const state = async (id: string) => (await describeInstances(at, id))[0].state;
  const sent = (action: string) => at.aws.requests.filter((each) => each.action === action).length;

  /** Instances that no record of this run may end, and why. */
  /** A run that ended after its instance was launched. */
  const endedNow = (more: Partial<RunRecord>) => recordOf({ endedAt: Date.now(), ...more });

  const foreign: [what: string, tags: Record<string, string | undefined>][] = [
    ['that nx-ec2 did not launch', { [TAG.managed]: undefined }],
    ['whose tag says that it is not managed', { [TAG.managed]: 'false' }],
    ['of a colleague', { [TAG.owner]: OTHER }],
    ['of another project', { [TAG.project]: 'vision' }],
    ['of another workspace', { [TAG.workspace]: 'other' }],
    ['of another store', { [TAG.store]: 'bucket/other' }],
    ['of another run', { [TAG.run]: OTHER_RUN }],
    ['of no run', { [TAG.run]: undefined }],
  ];

  describe.each(foreign)('an instance %s', (_, tags) => {
    let id: string;
    beforeAll(async () => void (id = await launch(tags)));

    it('is not terminated for a forged success', async () => {
      await waitForShutdown(pipe.context, endedNow({ instance: id }), [], signal);
      expect(await state(id)).toBe('running');
    });

    it('is not terminated for a forged interruption, and the error says why', async () => {
      const ended = endInterrupted(pipe.context, { id: RUN, instance: id, endedAt: null }, [], signal);
      const error = (await ended.catch((reason: unknown) => reason)) as Problem;
      expect(error).toBeInstanceOf(Problem);
      expect(error.message).toMatch(new RegExp(`${id} was not touched: .*nx-ec2:.*The record of ${RUN} names it`, 's'));
      expect(error.message).toContain('--rerun');
      expect(await state(id)).toBe('running');
    });
  });

  it('that has no valid id causes no request to EC2', async () => {
    const before = at.aws.requests.length;
    for (const instance of ['i-1;rm', '*', 'i-*', 'arn:aws:ec2:eu-west-1:1:instance/i-0123456789abcdef0']) {
      await waitForShutdown(pipe.context, endedNow({ instance }), [], signal);
      expect(await endInterrupted(pipe.context, { id: RUN, instance, endedAt: null }, [], signal)).toBeNull();
    }
    expect(at.aws.requests.length).toBe(before);
  });

  it('is terminated if its tags in EC2 name this very run', async () => {
    const [finished, interrupted] = [await launch(), await launch()];
    await waitForShutdown(pipe.context, endedNow({ instance: finished }), [], signal);
    expect(await state(finished)).toBe('terminated');
    await endInterrupted(pipe.context, { id: RUN, instance: interrupted, endedAt: null }, [], signal);
    expect(await state(interrupted)).toBe('terminated');
  });

  it("is terminated though the instance's clock was behind at the end, unless it was started again since", async () => {
    const [here, startedAgain] = [await launch(), await launch()];
    at.aws.instances.get(here)!.launched -= 60_000;
    for (const instance of [here, startedAgain]) {
      const { store, keys, project } = pipe.context;
      const run = recordOf({ project, instance, endedAt: Date.now() - 3_600_000 });
      await putRecord(store, keys, run);
      // S3 says to a second when that was.
      const after = Date.now() + 2_000;
      if (instance === startedAgain) {
        await until(() => Date.now() > after);
        at.aws.instances.get(startedAgain)!.launched = Date.now();
      }
      await waitForShutdown(pipe.context, run, [], signal);
    }
    expect([await state(here), await state(startedAgain)]).toEqual(['terminated', 'running']);
  });

  it('is waited for if EC2 is taking it away, whoever launched it', async () => {
    const id = await launch({ [TAG.run]: undefined });
    const gone = endInterrupted(pipe.context, { id: RUN, instance: id, endedAt: Date.now() }, [], signal);
    setTimeout(() => at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] })), 500);
    expect(await gone).toBeNull();
    expect(await state(id)).not.toBe('running');
  });

  it('is terminated if this command has launched it, whatever run it was launched for', async () => {
    const [reused, colleagues] = [await launch({ [TAG.run]: OTHER_RUN }), await launch({ [TAG.owner]: OTHER })];
    await waitForShutdown(pipe.context, endedNow({ instance: reused }), [reused], signal);
    expect(await state(reused)).toBe('terminated');
    await waitForShutdown(pipe.context, endedNow({ instance: colleagues }), [colleagues], signal);
    expect(await state(colleagues)).toBe('running');
  });

  it('is left running if the record says that the run has ended and the instance says that it is active', async () => {
    pipe.write('model/train.py', 'import time\nprint("on", flush=True)\ntime.sleep(600)\n');
    const box = at.aws.named.get('box')!;
    const before = { ...box.tags };
    const { run } = await pipe.launch();
    Object.assign(box.tags, ours, { [TAG.run]: run.id });
    await waitForShutdown(pipe.context, endedNow({ id: run.id, instance: box.id }), [], signal);
    expect(pipe.said.at(-1)).toMatch(new RegExp(`${box.id} was not touched.*active according to the instance`));
    expect(await state(box.id)).toBe('running');
    // The store may hide that run.
    jest.spyOn(pipe.context.store, 'listDirectories').mockResolvedValue([]);
    Object.assign(box.tags, { [TAG.run]: RUN });
    const unused = { id: box.id, how: 'launched' } as EnsuredInstance;
    await terminateUnused(pipe.context, [unused], RUN, signal);
    expect(pipe.said.at(-1)).toContain(`${box.id} was launched for this training, which failed to start. It is kept`);
    await waitForShutdown(pipe.context, endedNow({ id: RUN, instance: box.id }), [], signal);
    expect(pipe.said.at(-1)).toBe(`${box.id} is kept while ${run.id} is active on it.`);
    jest.spyOn(pipe.context.at(box.id).remote, 'send').mockRejectedValue(new Error('it does not answer'));
    await terminateUnused(pipe.context, [unused], RUN, signal);
    expect(pipe.said.at(-1)).toContain(`${box.id} was launched for this training, which failed to start. It is kept`);
    await waitForShutdown(pipe.context, endedNow({ id: RUN, instance: box.id }), [], signal);
    expect(pipe.said.at(-1)).toMatch(
      new RegExp(`${box.id} did not shut down .* was not touched.*remote-down --force`, 's'),
    );
    expect(await state(box.id)).toBe('running');
    jest.restoreAllMocks();
    box.tags = before;
    await cancelRun(pipe.context, run, signal);
  });

  describe('is a fleet', () => {
    const name = `nx-ec2-${RUN}`;
    const stopped = async () => (await pipe.keys((key) => key.endsWith(`${RUN}/stop`))).length > 0;
    const tagged = (more: Record<string, string | undefined>) =>
      Object.fromEntries(
        Object.entries({ ...ours, ...more }).filter((each): each is [string, string] => each[1] !== undefined),
      );
    afterEach(async () => {
      const { fleets, launchTemplates } = at.aws.left();
      for (const LaunchTemplateId of launchTemplates)
        await at.ec2.send(new DeleteLaunchTemplateCommand({ LaunchTemplateId }));
      if (fleets.length) await at.ec2.send(new DeleteFleetsCommand({ FleetIds: fleets, TerminateInstances: true }));
    });

    it.each(foreign)('is kept with its template, and nothing is written, if it is %s', async (_, tags) => {
      const fleet = await fleetTagged(at, name, tagged(tags));
      const error = (await cancelBetweenInstances(pipe.context, RUN, false).catch(
        (reason: unknown) => reason,
      )) as Problem;
      expect(['NOT_MANAGED', 'NOT_OWNER', 'OTHER_RUN']).toContain(error.code);
      expect(at.aws.left()).toMatchObject({ fleets: [fleet], launchTemplates: [expect.any(String)] });
      expect(await stopped()).toBe(false);
    });

    it("is deleted by force if it is a colleague's, and kept if it is another project’s", async () => {
      const fleet = await fleetTagged(at, name, tagged({ [TAG.owner]: OTHER }));
      const vision = await fleetTagged(at, 'other', tagged({ [TAG.project]: 'vision' }));
      expect(await cancelBetweenInstances(pipe.context, RUN, true)).toBe(true);
      expect(at.aws.left().fleets).toEqual([vision]);
      expect(fleet).not.toBe(vision);
      expect(await stopped()).toBe(true);
    });

    it("is deleted if it is this run's, and a colleague’s instance with the run’s tag is kept", async () => {
      const colleagues = await launch({ [TAG.owner]: OTHER });
      await fleetTagged(at, name, ours);
      expect(await cancelBetweenInstances(pipe.context, RUN, false)).toBe(true);
      expect(at.aws.left()).toMatchObject({ fleets: [], launchTemplates: [] });
      expect(await state(colleagues)).toBe('running');
      expect(pipe.said.join('\n')).toMatch(
        new RegExp(`The instance ${colleagues} was not touched: its tag nx-ec2:owner`),
      );
    });
  });

  describe('gets no commands', () => {
    /** As with a launch spec: no instance has been looked up. */
    let runs: RunContext;
    beforeAll(() => {
      runs = createRunContext(pipe.context.configuration, pipe.project, pipe.workspace, pipe.context.printer);
    });
    afterAll(() => runs.close());

    const cancel = (instance: string) => cancelRun(runs, { id: RUN, instance }, signal);

    it.each(foreign.filter(([what]) => !/colleague|run/.test(what)))('if it is one %s', async (_, tags) => {
      const id = await launch(tags);
      const before = sent('SendCommand');
      await expect(cancel(id)).rejects.toMatchObject({
        code: 'INSTANCE_NOT_ALLOWED',
        message: expect.stringContaining(`--instance=${id}`),
      });
      expect(sent('SendCommand')).toBe(before);
    });

    it('if it has another shape than an id', async () => {
      const before = at.aws.requests.length;
      for (const id of ['i-1;rm', '*', 'i-0123456789abcdef0\n'])
        await expect(cancel(id)).rejects.toMatchObject({ code: 'RESOURCE_ID' });
      expect(at.aws.requests.length).toBe(before);
    });

    it('unless the configuration names it, or nx-ec2 launched it for this project and store', async () => {
      const colleagues = await launch({ [TAG.owner]: OTHER, [TAG.run]: OTHER_RUN });
      for (const id of [colleagues, at.aws.named.get('box')!.id]) {
        const before = sent('SendCommand');
        await expect(cancel(id)).rejects.toMatchObject({ code: 'NO_RUN' });
        expect(sent('SendCommand')).toBeGreaterThan(before);
      }
    });
  });
});
