import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import type { RunContext } from '../../context/types';
import { TAG } from '../../instance/describe/ownership';
import type { EnsuredInstance } from '../../instance/launch/ensure-instance';
import { launchSpecOf } from '../../instance/launch/ensure-instance.fixture';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { until } from '../../system/until.fixture';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import { newRunId } from '../record/run-id';
import { launchForRun } from './run-instance';

describe('the instances of a run on several nodes', () => {
  let at: Fixture;
  let pipe: Pipeline;
  let run: string;
  let ups: EnsuredInstance[];
  beforeAll(async () => void (at = await startPipeline()));
  afterAll(() => at.close());
  beforeEach(async () => {
    at.aws.instances.agentDelay = 0;
    pipe = await new Pipeline(at, 'store').open();
    run = newRunId(pipe.project, new Date());
    ups = [];
  });
  afterEach(async () => {
    pipe.close();
    const box = at.aws.named.get('box')!;
    for (const each of at.aws.instances.all())
      if (each.id !== box.id && each.state !== 'terminated') at.aws.instances.change(each, 'terminated');
  });

  const launch = (startupTimeout = 60_000) => {
    const { configuration } = pipe.context;
    const context = {
      ...pipe.context,
      configuration: { ...configuration, instance: { ...configuration.instance, startupTimeout } },
    } as RunContext;
    const purpose = { id: run, count: 3 };
    const up = (instances: EnsuredInstance[]) => void (ups = instances);
    return launchForRun(context, launchSpecOf({}), purpose, up, new AbortController().signal);
  };
  const idsOf = (instances: EnsuredInstance[]) => instances.map(({ id }) => id);
  const alive = () =>
    at.aws.instances
      .all()
      .filter(({ state, tags }) => tags[TAG.run] === run && state !== 'terminated')
      .map(({ id }) => id)
      .sort();

  it('are launched for it together, and returned when all can be used', async () => {
    const made = await launch();
    expect(made.map(({ how }) => how)).toEqual(['launched', 'launched', 'launched']);
    expect(idsOf(ups)).toEqual(idsOf(made));
    expect(alive()).toEqual(idsOf(made).sort());
    expect(idsOf(await launch())).toEqual(idsOf(made));
  });

  it('are all terminated if one of them ends while they start', async () => {
    at.aws.instances.agentDelay = Infinity;
    const launched = launch();
    await until(() => ups.length === 3);
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [ups[1].id] }));
    await expect(launched).rejects.toMatchObject({ code: 'INSTANCE_NOT_RUNNING' });
    expect(alive()).toEqual([]);
    for (const id of [ups[0].id, ups[2].id])
      expect(pipe.said).toContain(`Terminating ${id}: it was launched for this training, which failed to start.`);
  });

  it('are terminated if Systems Manager does not reach them, and those that existed before are kept', async () => {
    const first = await launch();
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [first[0].id] }));
    at.aws.instances.agentDelay = Infinity;
    await expect(launch(1_500)).rejects.toMatchObject({ code: 'SSM_OFFLINE' });
    expect(alive()).toEqual(idsOf(first).slice(1).sort());
  });
});
