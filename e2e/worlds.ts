import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IdentityOptions } from '../src/local-aws/protocol/identity';
import type { InstanceTimes } from '../src/local-aws/instance/instances';
import { startLocalAws } from '../src/local-aws/server';
import { Nx } from './nx';
import type { LocalAws } from '../src/local-aws/types';

const root = join(__dirname, '..');

/** Local AWS with an Nx that reaches it. */
export interface World {
  aws: LocalAws;
  nx: Nx;
  /** Where its state is. */
  directory: string;
  /** Launches an instance, and gives its id. */
  launch(): string;
}

/** A workspace with the packed plugin in it, and worlds that know nothing of each other. */
export class Worlds {
  readonly directory: string;
  readonly workspace: string;
  private readonly all: LocalAws[] = [];

  constructor(name: string) {
    this.directory = mkdtempSync(join(tmpdir(), `nx-ec2-${name}-`));
    this.workspace = join(this.directory, 'workspace');
  }

  install(): void {
    execFileSync(process.execPath, [join(root, 'scripts/workspace/make-workspace.mjs'), this.workspace], {
      stdio: 'inherit',
    });
  }

  async make(identities: IdentityOptions[] = [], times: InstanceTimes = {}): Promise<World> {
    const directory = join(this.directory, `aws-${this.all.length}`);
    const aws = await startLocalAws({
      directory,
      buckets: ['nx-ec2-local'],
      instances: [],
      history: true,
      identities,
      ...times,
    });
    this.all.push(aws);
    const nx = this.machine(aws, this.workspace);
    return { aws, nx, directory, launch: () => aws.instances.launch({ booted: true }).id };
  }

  /** An Nx that remembers nothing: another machine, or another workspace. */
  machine(aws: LocalAws, workspace: string, more: NodeJS.ProcessEnv = {}): Nx {
    const { PYTHONUNBUFFERED: _, ...own } = process.env;
    const memory = mkdtempSync(join(this.directory, 'memory-'));
    return new Nx(workspace, {
      ...own,
      ...aws.environment,
      NX_DAEMON: 'false',
      NX_TUI: 'false',
      NX_NO_CLOUD: 'true',
      // Half the work of a process: main-job.e2e.ts has the plugin isolated, as it is by default.
      NX_ISOLATE_PLUGINS: 'false',
      CI: 'true',
      NX_CACHE_DIRECTORY: join(memory, 'cache'),
      NX_WORKSPACE_DATA_DIRECTORY: join(memory, 'data'),
      NX_EC2_CACHE_DIRECTORY: join(memory, 'ours'),
      ...more,
    });
  }

  /** The same files in another place, as a colleague has them. */
  copy(): string {
    const place = mkdtempSync(join(this.directory, 'copy-'));
    cpSync(this.workspace, place, { recursive: true, filter: (from) => !/\/(node_modules|\.nx)$/.test(from) });
    symlinkSync(join(this.workspace, 'node_modules'), join(place, 'node_modules'));
    return place;
  }

  async close(): Promise<void> {
    for (const aws of this.all) await aws.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
