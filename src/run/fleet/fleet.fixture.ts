import { DeleteFleetsCommand, DeleteLaunchTemplateCommand, TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { findFleet } from '../../instance/fleet/find-fleet';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { followRun } from '../follow/follow';
import type { StartedRun } from '../start/start-run';
import { Pipeline } from '../pipeline.fixture';
import { readNodeRecord, type RunRecord } from '../record/record';
import { until } from '../../system/until.fixture';
import type { Workspace } from '../../project/scan-project';
import { createRunContext } from '../../context/context';
import { launchFleet, type FleetOptions } from './launch-fleet';
import type { RunContext } from '../../context/types';

/**
 * Trains eight steps, each a checkpoint. Each of the first attempts makes two, and then waits for what takes its
 * instance away. @param taken so many attempts.
 */
export function steps(taken = 0): string {
  return `
import os, time
place, attempt = os.environ["NX_EC2_CHECKPOINT_DIR"], int(os.environ["NX_EC2_ATTEMPT"])
done = max([0] + [int(name.split("-")[1]) for name in os.listdir(place) if name.startswith("step-") and not name.endswith(".complete")])
state = int(open(os.path.join(place, "step-%d" % done)).read()) if done else 1
for step in range(done + 1, 9):
    if attempt <= ${taken} and step > 2 * attempt:
        time.sleep(600)
    state = state * 31 % 1000003
    path = os.path.join(place, "step-%d" % step)
    open(path, "w").write(str(state))
    open(path + ".complete", "w").close()
    print("step", step, state, flush=True)
os.makedirs("artifacts", exist_ok=True)
open("artifacts/result", "w").write(str(state))
`;
}

/** A workspace whose training a fleet recovers. */
export class FleetPipeline extends Pipeline {
  runs!: RunContext;

  constructor(
    at: Fixture,
    private readonly launchSpecOptions: Record<string, unknown> = {},
    private readonly nodes: number | string = 1,
    private readonly trainOptions: Record<string, unknown> = {},
  ) {
    super(at, 'store');
  }

  createRunContext(): this {
    process.env.NX_EC2_CACHE_DIRECTORY = this.memory;
    this.runs?.close();
    const instance = {
      type: ['m5.large', 'c5.xlarge'],
      instanceProfile: 'training',
      spot: true,
      recovery: 'fleet',
      onFinish: { success: 'terminate', failure: 'terminate' },
      ...this.launchSpecOptions,
    };
    const train = { script: 'train.py', nodes: this.nodes, ...this.trainOptions };
    const configuration = this.configuration({ instance, train }, 'remote-train');
    this.runs = createRunContext(configuration, this.project, this.workspace, this.printer());
    // Planning a run needs no more than a run context has.
    this.context = this.runs as typeof this.context;
    return this;
  }

  get launchSpec(): LaunchSpec {
    const { instance } = this.runs.configuration;
    if (!('launchSpec' in instance)) throw new Error('no launch spec');
    return instance.launchSpec;
  }

  async launchFleet(more: Partial<FleetOptions> = {}): Promise<StartedRun> {
    await this.runs.aws.call('GetCallerIdentity', {});
    const { planned, scanned } = await this.plan({ detached: true, aws: this.runs.aws });
    const { configuration, printer } = this.runs;
    const workspace = { workspaceRoot: this.workspace, project: this.project, configuration, printer } as Workspace;
    const launched = await launchFleet(this.runs, {
      launchSpec: this.launchSpec,
      workspace,
      planned,
      signal: new AbortController().signal,
      scanned,
      rerun: false,
      wait: 60_000,
      onLaunched: () => undefined,
      ...more,
    });
    await launched.settled;
    return launched;
  }

  /** Follows the run to its end, over all its instances. */
  async ended(run: StartedRun['run']): Promise<{ run: RunRecord; log: string }> {
    const pieces: Buffer[] = [];
    const record = await followRun(this.runs, run, {
      onState: () => undefined,
      onLog: (data) => void pieces.push(data),
    });
    return { run: record, log: Buffer.concat(pieces).toString() };
  }

  /** The record that a node has in the store. */
  async recordOf(run: string, rank = 0): Promise<RunRecord | null> {
    return (await readNodeRecord(this.runs.store, this.runs.keys, run, rank))?.record ?? null;
  }

  found(run: string): ReturnType<typeof findFleet> {
    return findFleet(this.runs.aws, run);
  }
}

/** Waits until no fleet, launch template or instance is left. */
export async function allGone(at: Fixture): Promise<void> {
  await until(() => Object.values(at.aws.left()).every((each) => each.length === 0), {
    what: () => JSON.stringify(at.aws.left()),
    seconds: 240,
  });
}

/** Ends what a test has left, and its faults. */
export async function removeAll(at: Fixture): Promise<void> {
  at.aws.faults.clear();
  at.aws.capacity.clear();
  const { fleets, launchTemplates, instances } = at.aws.left();
  for (const LaunchTemplateId of launchTemplates)
    // An instance may delete its own at the same moment.
    await at.ec2.send(new DeleteLaunchTemplateCommand({ LaunchTemplateId })).catch(() => undefined);
  if (fleets.length) await at.ec2.send(new DeleteFleetsCommand({ FleetIds: fleets, TerminateInstances: true }));
  if (instances.length) await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: instances }));
}
