import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { PassThrough } from 'node:stream';
import type { ExecutorContext, ProjectGraph } from '@nx/devkit';
import { startFixture, type Fixture } from '../../local-aws/local-aws.fixture';
import { Printer } from '../../report/printer';
import { until } from '../../system/until.fixture';

type Executor = (options: object, context: ExecutorContext) => Promise<{ success: boolean }>;

/** A project of the graph that executors get: its root, and the projects that it depends on. */
export interface WorkshopProject {
  root: string;
  dependencies?: string[];
}

/** A workspace of one project, or of those that are given, and this package's executors and verbs in this process, against local AWS. */
export class Workshop {
  readonly workspace = mkdtempSync(join(tmpdir(), 'nx-ec2-workshop-'));
  readonly memory = mkdtempSync(join(tmpdir(), 'nx-ec2-memory-'));
  /** What executors printed since the last one began. */
  printed = '';
  private readonly silence: jest.SpyInstance[];
  private readonly before = { ...process.env };

  private constructor(
    readonly at: Fixture,
    private readonly projects: Record<string, WorkshopProject>,
  ) {
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
    for (const [name, { root }] of Object.entries(projects))
      this.write(join(root, 'project.json'), JSON.stringify({ name, root }));
  }

  static async open(projects: Record<string, WorkshopProject> = { model: { root: 'model' } }): Promise<Workshop> {
    return new Workshop(await startFixture({ buckets: ['bucket', 'data'], instances: ['box', 'other'] }), projects);
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
   * Runs an executor with these options; `cache`: as a target that Nx caches; `project`: of that project.
   * @returns the line for machines that it printed.
   * @throws Error where it did not succeed.
   */
  async run<T = Record<string, unknown>>(name: string, given: object = {}): Promise<T> {
    const { cache, project = 'model', ...options } = given as { cache?: boolean; project?: string };
    this.printed = '';
    const { default: execute } = (await import(`../${name}/executor`)) as { default: Executor };
    const { success } = await execute(
      { bucket: 'bucket', instance: { id: this.instance }, json: true, ...options },
      this.context(name, project, cache),
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
    await until(holds, { what: () => `${holds} in ${this.printed}` });
  }

  /** A printer for the verbs that take one. */
  printer(): Printer {
    return new Printer({ stdout: new PassThrough().resume() as unknown as NodeJS.WriteStream });
  }

  async close(): Promise<void> {
    for (const each of this.silence) each.mockRestore();
    rmSync(this.workspace, { recursive: true, force: true });
    rmSync(this.memory, { recursive: true, force: true });
    process.env = this.before;
    await this.at.close();
  }

  /** The graph of the workspace's projects. */
  get projectGraph(): ProjectGraph {
    const entries = Object.entries(this.projects);
    const nodes = entries.map(([name, { root }]) => [name, { type: 'app', name, data: { name, root, targets: {} } }]);
    const dependencies = entries.map(([source, { dependencies: all = [] }]) => [
      source,
      all.map((target) => ({ source, target, type: 'static' })),
    ]);
    return { nodes: Object.fromEntries(nodes), dependencies: Object.fromEntries(dependencies) };
  }

  private context(executor: string, projectName: string, cache?: boolean): ExecutorContext {
    const { projectGraph } = this;
    const target = { executor: `nx-ec2:${executor}`, cache };
    const data = Object.values(projectGraph.nodes).map((node) => [node.name, node.data]);
    projectGraph.nodes[projectName].data.targets = { [executor]: target };
    return {
      root: this.workspace,
      cwd: this.workspace,
      isVerbose: false,
      projectName,
      targetName: executor,
      target,
      nxJsonConfiguration: {},
      projectsConfigurations: { version: 2, projects: Object.fromEntries(data) },
      projectGraph,
    };
  }
}
