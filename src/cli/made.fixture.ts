import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import {
  CreateFleetCommand,
  CreateLaunchTemplateCommand,
  RunInstancesCommand,
  type RunInstancesCommandInput,
} from '@aws-sdk/client-ec2';
import { Aws } from '../aws/clients';
import { ACCOUNT } from '../local-aws/protocol/identity';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { Printer } from '../report/printer';
import { startPipeline } from '../run/pipeline.fixture';
import type { RunRecord } from '../run/record/record';
import { putRecord, recordOf } from '../run/record/saved-run.fixture';
import { StoreKeys } from '../store/keys';
import { Store } from '../store/store';

export const ME = `arn:aws:iam::${ACCOUNT}:user/local`;
export const OTHER = `arn:aws:sts::${ACCOUNT}:assumed-role/team/bea`;
export const MINUTE = 60_000;

/** Holds a run's lock, as its supervisor does. */
const HOLD = `
import fcntl, sys
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
`;

type Tags = Record<string, string>;

/** An account with resources of nx-ec2, and a store with the records that their instances wrote. */
export class InventoryFixture {
  private directory = mkdtempSync(join(tmpdir(), 'nx-ec2-made-'));
  private clients!: Aws;
  at!: Fixture;

  static async start(): Promise<InventoryFixture> {
    const made = new InventoryFixture();
    await made.open();
    return made;
  }

  private async open(): Promise<void> {
    this.at = await startPipeline({ instances: [], directory: this.directory });
    this.clients = new Aws({});
  }

  async close(): Promise<void> {
    this.clients.close();
    await this.at.close();
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** The tags of something of ours; undefined: without that one. */
  tags(more: Record<string, string | undefined> = {}): Tags {
    const all: Record<string, string | undefined> = {
      managed: 'true',
      owner: ME,
      project: 'model',
      workspace: 'acme',
      store: 'bucket/team',
      lifetime: '86400',
      ...more,
    };
    const given = Object.entries(all).filter((each): each is [string, string] => each[1] !== undefined);
    return Object.fromEntries(given.map(([key, value]) => [`nx-ec2:${key}`, value]));
  }

  async launch(tags: Tags, more: Partial<RunInstancesCommandInput> = {}): Promise<string> {
    const Tags = list(tags);
    const { Instances } = await this.at.ec2.send(
      new RunInstancesCommand({
        ImageId: 'ami-00000000000000001',
        InstanceType: 't3.micro',
        MinCount: 1,
        MaxCount: 1,
        IamInstanceProfile: { Name: 'training' },
        TagSpecifications: [
          { ResourceType: 'instance', Tags },
          { ResourceType: 'volume', Tags },
        ],
        ...more,
      }),
    );
    return Instances![0].InstanceId!;
  }

  async template(name: string, tags: Tags): Promise<string> {
    const { LaunchTemplate } = await this.at.ec2.send(
      new CreateLaunchTemplateCommand({
        LaunchTemplateName: name,
        LaunchTemplateData: {
          ImageId: 'ami-00000000000000001',
          InstanceType: 't3.micro',
          IamInstanceProfile: { Name: 'training' },
          TagSpecifications: [{ ResourceType: 'instance', Tags: list(tags) }],
        },
        TagSpecifications: [{ ResourceType: 'launch-template', Tags: list(tags) }],
      }),
    );
    return LaunchTemplate!.LaunchTemplateId!;
  }

  /** @param template its name. */
  async fleet(template: string, tags: Tags): Promise<string> {
    const { FleetId } = await this.at.ec2.send(
      new CreateFleetCommand({
        Type: 'maintain',
        TargetCapacitySpecification: { TotalTargetCapacity: 1, DefaultTargetCapacityType: 'spot' },
        LaunchTemplateConfigs: [
          { LaunchTemplateSpecification: { LaunchTemplateName: template, Version: '$Latest' }, Overrides: [] },
        ],
        TagSpecifications: [{ ResourceType: 'fleet', Tags: list(tags) }],
      }),
    );
    return FleetId!;
  }

  /** What an instance says of a run. */
  async tell(more: Partial<RunRecord> & { id: string; instance: string; project?: string }): Promise<void> {
    const keys = new StoreKeys('team', more.project ?? 'model');
    await putRecord(new Store(this.clients, { bucket: 'bucket' }), keys, recordOf(more));
  }

  /** What anybody may write as a run's record who writes to the bucket. @param age ms by S3's clock. */
  async forge(more: Partial<RunRecord> & { id: string; instance: string }, age = 0): Promise<void> {
    const key = `${new StoreKeys('team', 'model').run(more.id)}record.json`;
    const forged = { v: 2, mac: '0'.repeat(64), record: recordOf(more) };
    await new Store(this.clients, { bucket: 'bucket' }).put(key, Buffer.from(JSON.stringify(forged)));
    if (!age) return;
    const bucket = join(this.directory, 's3', 'bucket');
    for (const file of readdirSync(bucket).filter((name) => name.endsWith('.json'))) {
      const object = JSON.parse(readFileSync(join(bucket, file), 'utf8')) as { key?: string; modified: number };
      if (object.key !== key) continue;
      object.modified -= age;
      writeFileSync(join(bucket, file), JSON.stringify(object));
    }
    this.at.aws.reread();
  }

  /** The watchdog's mark on an instance, without which the instance does not know what runs there. */
  watchdog(instance: string): void {
    const watchdog = join(this.rootOf(instance), 'watchdog');
    mkdirSync(watchdog, { recursive: true });
    writeFileSync(join(watchdog, 'config.json'), '{}');
  }

  /** A run that runs on an instance, until what is returned is called. */
  async runOn(instance: string, run: string): Promise<() => void> {
    const home = join(this.rootOf(instance), 'runs', run);
    mkdirSync(home, { recursive: true });
    const child = spawn('python3', ['-c', HOLD, join(home, 'lock')], { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    return () => child.stdin.end();
  }

  private rootOf(instance: string): string {
    return join(this.at.aws.instances.disk(instance), 'root');
  }

  /** Everything that is there is older by so much, ms: by what local AWS keeps of it, while it does not run. */
  async age(ms: number, edit: (file: string, rows: Record<string, object>) => void = () => undefined): Promise<void> {
    this.clients.close();
    await this.at.close();
    for (const name of ['volumes', 'spot-requests', 'launch-templates', 'fleets']) {
      const file = join(this.directory, 'ec2', `${name}.json`);
      let rows: Record<string, object> = {};
      try {
        rows = JSON.parse(readFileSync(file, 'utf8')) as typeof rows;
      } catch {
        // There is none yet.
      }
      for (const row of Object.values(rows) as { created: number }[]) row.created -= ms;
      edit(name, rows);
      writeFileSync(file, JSON.stringify(rows));
    }
    await this.open();
    for (const each of this.at.aws.instances.all()) each.launched -= ms;
    this.at.aws.instances.save();
  }
}

function list(tags: Tags): { Key: string; Value: string }[] {
  return Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));
}

/** What a verb prints, and what it ends with. */
export async function printed(
  work: (printer: Printer) => Promise<void>,
  json = false,
): Promise<{ out: string; error: unknown }> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const out = text(stdout);
  stderr.resume();
  const printer = new Printer({
    json,
    stdout: stdout as unknown as NodeJS.WriteStream,
    stderr: stderr as unknown as NodeJS.WriteStream,
  });
  const error = await work(printer).then(
    () => null,
    (reason: unknown) => reason,
  );
  stdout.end();
  return { out: await out, error };
}
