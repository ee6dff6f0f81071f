import { hash, randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { PassThrough } from 'node:stream';
import { RunInstancesCommand } from '@aws-sdk/client-ec2';
import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import type { RunFacts, RunPart, TrainReply } from '../command/plan';
import { resolveConfiguration } from '../config/configuration';
import { specHash, TAG } from '../instance/describe/ownership';
import { startFixture, type Fixture } from '../local-aws/local-aws.fixture';
import type { StoredObject } from '../local-aws/s3/objects';
import { Printer } from '../report/printer';
import { scan } from '../snapshot/scan';
import { selectTransport } from '../sync/transport/select-transport';
import { syncTree } from '../sync/pipeline/sync-tree';
import type { SyncOptions } from '../sync/pipeline/types';
import { followRun, type FollowOptions } from './follow/follow';
import type { RunRecord } from './record/record';
import { startRun, type StartedRun } from './start/start-run';
import type { Scanned, Workspace } from '../project/scan-project';
import { createRunContext, createInstanceContext } from '../context/context';
import { planRun, type NextAttempt, type PlannedRun, type PlanRunOptions } from './start/plan-run';
import type { Configuration } from '../config/settings/types';
import type { InstanceContext } from '../context/types';
import type { LocalAwsOptions } from '../local-aws/types';

/** Every file and link below a directory, relative to it, sorted. */
export function listed(directory: string, below = ''): string[] {
  return readdirSync(join(directory, below), { withFileTypes: true })
    .flatMap((each) => {
      const path = below ? `${below}/${each.name}` : each.name;
      return each.isDirectory() ? listed(directory, path) : [path];
    })
    .sort();
}

/** Local AWS, and the variables that lead to it, until `close`. */
export async function startPipeline(options: Partial<LocalAwsOptions> = {}): Promise<Fixture> {
  const before = { ...process.env };
  const at = await startFixture(options);
  const { endpoint, region, credentials } = at.clientOptions;
  Object.assign(process.env, {
    AWS_ENDPOINT_URL: endpoint,
    AWS_REGION: region,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    NX_EC2_CACHE_DIRECTORY: join(at.directory, 'memory'),
  });
  return {
    ...at,
    close: async () => {
      process.env = before;
      await at.close();
    },
  };
}

/** A workspace without Nx, a project of its own, and what this machine remembers of it. */
export class Pipeline {
  readonly workspace = mkdtempSync(join(tmpdir(), 'nx-ec2-pipeline-'));
  readonly memory = mkdtempSync(join(tmpdir(), 'nx-ec2-memory-'));
  readonly said: string[] = [];
  /** What was shown of logs. */
  readonly logged: Buffer[] = [];
  context!: InstanceContext;

  constructor(
    readonly at: Fixture,
    readonly strategy: 'auto' | 'store' | 'archive',
    readonly project = `project ${randomBytes(4).toString('hex')}`,
  ) {}

  async open(
    options: Record<string, unknown> = {},
    target: 'remote-train' | 'remote-sync' = 'remote-train',
  ): Promise<this> {
    this.context?.close();
    process.env.NX_EC2_CACHE_DIRECTORY = this.memory;
    const configuration = this.configuration(options, target);
    this.context = await createInstanceContext(configuration, this.project, this.workspace, this.printer());
    return this;
  }

  /** Launches a spot instance with a role, as for a launch spec, and uses it. */
  async openSpot(options: Record<string, unknown> = {}): Promise<string> {
    process.env.NX_EC2_CACHE_DIRECTORY = this.memory;
    const machine = { type: 'g4dn.xlarge', spot: true, instanceProfile: 'training' };
    const configuration = this.configuration({ ...options, instance: machine }, 'remote-train');
    if (!('launchSpec' in configuration.instance)) throw new Error('the instance is no launch spec');
    const runs = createRunContext(configuration, this.project, this.workspace, this.printer());
    const owner = await runs.owner();
    runs.close();
    const { Instances } = await this.at.ec2.send(
      new RunInstancesCommand({
        ImageId: 'ami-00000000000000005',
        InstanceType: 'g4dn.xlarge',
        MinCount: 1,
        MaxCount: 1,
        IamInstanceProfile: { Name: 'training' },
        InstanceMarketOptions: {
          MarketType: 'spot',
          SpotOptions: { SpotInstanceType: 'one-time', InstanceInterruptionBehavior: 'terminate' },
        },
        TagSpecifications: [
          {
            ResourceType: 'instance',
            Tags: Object.entries({
              [TAG.key]: specHash(owner, configuration.instance.launchSpec),
              [TAG.managed]: 'true',
              [TAG.workspace]: owner.workspace,
              [TAG.project]: owner.project,
              [TAG.owner]: owner.caller,
              [TAG.store]: `${configuration.bucket}/${configuration.prefix}`,
            }).map(([Key, Value]) => ({ Key, Value })),
          },
        ],
      }),
    );
    await this.open({ ...options, instance: machine });
    return Instances![0].InstanceId!;
  }

  protected configuration(options: Record<string, unknown>, target: 'remote-train' | 'remote-sync'): Configuration {
    return resolveConfiguration({
      workspaceRoot: this.workspace,
      projectName: this.project,
      projectRoot: 'model',
      nxJson: {},
      options: {
        bucket: 'bucket',
        ...('instance' in options ? {} : { instance: this.at.aws.named.get('box')!.id }),
        ...(target === 'remote-train' ? { script: 'train.py' } : {}),
        ...options,
      },
      target,
      environment: {},
    });
  }

  protected printer(): Printer {
    const stdout = new PassThrough().resume() as unknown as NodeJS.WriteStream;
    const printer = new Printer({ stdout, verbose: true });
    for (const how of ['warn', 'line', 'detail'] as const) printer[how] = (text) => void this.said.push(text);
    printer.log = (data) => void this.logged.push(data);
    return printer;
  }

  /** Makes a run's record this old, ms, without waiting. */
  age(run: string, ms: number): void {
    const key = `${this.context.keys.run(run)}record.json`;
    const file = join(this.at.directory, 's3/bucket', `${hash('sha256', key)}.json`);
    const object = JSON.parse(readFileSync(file, 'utf8')) as StoredObject;
    writeFileSync(file, JSON.stringify({ ...object, modified: object.modified - ms }));
    this.at.aws.reread();
  }

  close(): void {
    this.context.close();
    rmSync(this.workspace, { recursive: true, force: true });
    rmSync(this.memory, { recursive: true, force: true });
  }

  /** As a machine that has never synced, or a colleague's. */
  forget(): Promise<this> {
    rmSync(this.memory, { recursive: true, force: true });
    return this.open();
  }

  write(path: string, content: string | Buffer, mode = 0o644): void {
    mkdirSync(dirname(join(this.workspace, path)), { recursive: true });
    writeFileSync(join(this.workspace, path), content);
    chmodSync(join(this.workspace, path), mode);
  }

  syncOptions(): SyncOptions {
    return {
      scan: () =>
        scan({ workspaceRoot: this.workspace, paths: listed(this.workspace), cache: join(this.memory, 'scan') }),
      preflight: () => this.context.preflight(),
      onPlan: () => undefined,
    };
  }

  async sync(more: Partial<SyncOptions> = {}, signal?: AbortSignal) {
    const done = await syncTree<TrainReply>({ ...this.context, signal }, selectTransport(this.strategy), {
      ...this.syncOptions(),
      ...more,
    });
    await done.settled;
    return done;
  }

  /** The training of `model/train.py` as it is configured, and the scan that it is of. */
  protected async plan(options: Partial<PlanRunOptions> = {}): Promise<{ planned: PlannedRun; scanned: Scanned }> {
    const found = await this.syncOptions().scan();
    const scanned = {
      ...found,
      files: { paths: listed(this.workspace), leftOut: [], warnings: [] },
    } as unknown as Scanned;
    const planned = await planRun(this.context.configuration, this.project, scanned, this.workspace, {
      rerun: false,
      detached: false,
      restore: null,
      aws: null,
      ...options,
    });
    return { planned, scanned };
  }

  /** Starts it by the command that syncs. @param more takes the place of what the plan says. */
  async train(more: Partial<RunPart> = {}, options: Partial<PlanRunOptions> = {}): Promise<TrainReply> {
    const { planned } = await this.plan(options);
    const { reply } = await this.sync({
      run: async (snapshot) => ({ ...(await planned.part(this.context, this.context.tree, snapshot)), ...more }),
    });
    return reply;
  }

  /** Starts it as the targets do: unless it is found. */
  async launch(options: Partial<PlanRunOptions> = {}, nextAttempt?: NextAttempt): Promise<StartedRun> {
    const { planned, scanned } = await this.plan(options);
    const { context, workspace: workspaceRoot, project } = this;
    const { configuration, printer } = context;
    const workspace = { workspaceRoot, project, configuration, printer } as Workspace;
    return startRun(context, workspace, planned, {
      signal: new AbortController().signal,
      scanned,
      rerun: options.rerun ?? false,
      nextAttempt,
      onSend: () => undefined,
    });
  }

  /** Follows a run to its end: its record, and its log. */
  async follow(run: RunFacts, more: Partial<FollowOptions> = {}): Promise<{ run: RunRecord; log: Buffer }> {
    const pieces: Buffer[] = [];
    const record = await followRun(this.context, run, {
      onState: () => undefined,
      onLog: (data) => void pieces.push(data),
      ...more,
    });
    return { run: record, log: Buffer.concat(pieces) };
  }

  /** Keys in the store that a filter takes. */
  async keys(filter: (key: string) => boolean): Promise<string[]> {
    const { Contents = [] } = await this.at.s3.send(new ListObjectsV2Command({ Bucket: 'bucket' }));
    return Contents.map(({ Key }) => Key!).filter(filter);
  }

  /** What of the project's is in the store and should not stay there. */
  stored(): Promise<string[]> {
    const own = `/${encodeURIComponent(this.project)}/`;
    return this.keys((key) => key.includes(own) && !/\/(ref|manifests|run|key)\//.test(key));
  }
}
