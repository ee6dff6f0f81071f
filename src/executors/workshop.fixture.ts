import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { PassThrough } from 'node:stream';
import type { ExecutorContext } from '@nx/devkit';
import { startFixture, type Fixture } from '../local-aws/local-aws.fixture';
import { Reporter } from '../report/reporter';

type Executor = (options: object, context: ExecutorContext) => Promise<{ success: boolean }>;

/** A workspace of one project, and this package's executors and verbs in this process, against local AWS. */
export class Workshop {
  readonly workspace = mkdtempSync(join(tmpdir(), 'nx-ec2-workshop-'));
  readonly memory = mkdtempSync(join(tmpdir(), 'nx-ec2-memory-'));
  /** What executors printed since the last one began. */
  printed = '';
  private readonly silence: jest.SpyInstance[];
  private readonly before = { ...process.env };

  private constructor(readonly at: Fixture) {
    Object.assign(process.env, at.aws.environment, {
      NX_EC2_CACHE_DIRECTORY: this.memory,
      NX_DAEMON: 'false',
      // Nx reads it as it is loaded, which is when the first executor is.
      NX_WORKSPACE_ROOT_PATH: this.workspace,
    });
    const take = (piece: string | Uint8Array) => {
      this.printed += Buffer.from(piece as Uint8Array).toString();
      return true;
    };
    this.silence = [process.stdout, process.stderr].map((stream) =>
      jest.spyOn(stream, 'write').mockImplementation(take),
    );
    this.write('nx.json', '{}');
    this.write('model/project.json', JSON.stringify({ name: 'model', root: 'model' }));
  }

  static async open(): Promise<Workshop> {
    return new Workshop(await startFixture({ buckets: ['bucket', 'data'], instances: ['box', 'other'] }));
  }

  get instance(): string {
    return this.at.aws.named.get('box')!.id;
  }

  write(path: string, content: string | Buffer): void {
    mkdirSync(dirname(join(this.workspace, path)), { recursive: true });
    writeFileSync(join(this.workspace, path), content);
  }

  /** As a machine that has never synced. */
  forget(): void {
    rmSync(this.memory, { recursive: true, force: true });
    mkdirSync(this.memory);
  }

  /**
   * Runs an executor with these options; `cache`: as a target that Nx caches.
   * @returns the line for machines that it printed.
   * @throws Error where it did not succeed.
   */
  async run<T = Record<string, unknown>>(name: string, given: object = {}): Promise<T> {
    const { cache, ...options } = given as { cache?: boolean };
    const { default: execute } = (await import(`./${name}/executor`)) as { default: Executor };
    this.printed = '';
    const { success } = await execute(
      { bucket: 'bucket', instance: { id: this.instance }, json: true, ...options },
      this.context(name, cache),
    );
    if (!success) throw new Error(`${name} did not succeed: ${this.printed}`);
    const line = this.printed
      .trim()
      .split('\n')
      .filter((each) => each.startsWith('{"'))
      .pop()!;
    return JSON.parse(line) as T;
  }

  /** Waits until the executor that runs has printed that. */
  says(words: RegExp): Promise<void> {
    return this.until(() => words.test(this.printed));
  }

  async until(holds: () => boolean): Promise<void> {
    for (const end = Date.now() + 20_000; !holds();) {
      if (Date.now() > end) throw new Error(`never came: ${holds} in ${this.printed}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** A reporter for the verbs that take one. */
  reporter(): Reporter {
    return new Reporter({ stdout: new PassThrough().resume() as unknown as NodeJS.WriteStream });
  }

  async close(): Promise<void> {
    for (const each of this.silence) each.mockRestore();
    rmSync(this.workspace, { recursive: true, force: true });
    rmSync(this.memory, { recursive: true, force: true });
    process.env = this.before;
    await this.at.close();
  }

  private context(executor: string, cache?: boolean): ExecutorContext {
    const target = { executor: `nx-ec2:${executor}`, cache };
    const data = { name: 'model', root: 'model', targets: { [executor]: target } };
    return {
      root: this.workspace,
      cwd: this.workspace,
      isVerbose: false,
      projectName: 'model',
      targetName: executor,
      target,
      nxJsonConfiguration: {},
      projectsConfigurations: { version: 2, projects: { model: data } },
      projectGraph: { nodes: { model: { type: 'app', name: 'model', data } }, dependencies: { model: [] } },
    };
  }
}
