import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { PassThrough } from 'node:stream';
import type { ProjectGraph, TargetConfiguration } from '@nx/devkit';
import picomatch from 'picomatch';
import { cacheKey } from '../cli/cache-key';
import { declaredConfiguration, readConfigFile } from '../config/sources/config-file';
import { inferTargets } from '../config/targets/targets';
import { Workshop } from '../executors/lib/executor-harness.fixture';
import { Printer } from '../report/printer';
import { listed } from '../run/pipeline.fixture';
import { stateDirectory } from '../workspace/state';
import { sharedListing, type Listing } from '../workspace/files/shared-listing';

/** A training project as people write it, and what is right for it. Paths are relative to the project. */
export interface TrainingProject {
  /** Its directory in the workspace. Default: its name. */
  root?: string;
  files: Record<string, string | Buffer>;
  /** ec2.config.json: `train` and `sync`, with three settings at most. */
  config: { train: object; sync?: object };
  dependencies?: string[];
  /** Of the training: the results that come back. Globs, each of which matches a file. */
  results: string[];
  /** The last metrics. */
  metrics?: Record<string, number>;
  /** Files that change the training, relative to the workspace. */
  inputs: string[];
  /** Results that are neither in `results` nor named as extra files: caches and scratch. */
  extra?: string[];
}

export interface Trained {
  run: string;
  attached: string | false;
  metrics: Record<string, number>;
  artifacts: { files: number; extra: { name: string; size: number }[]; heldBack: unknown[]; unsaved: unknown[] };
  /** What the command printed. */
  printed: string;
}

/** Several training projects in one workspace that git tracks, on one instance of local AWS. */
export class TrainingProjects {
  private constructor(
    readonly shop: Workshop,
    private readonly projects: Record<string, TrainingProject>,
  ) {}

  /**
   * @param libraries projects that do not train, by their names.
   * @param shared files of no project, by their paths.
   * @param tools a directory of programs that the instance has.
   */
  static async open(
    projects: Record<string, TrainingProject>,
    {
      libraries = {},
      shared = {},
      tools,
    }: {
      libraries?: Record<string, Pick<TrainingProject, 'root' | 'files'>>;
      shared?: Record<string, string>;
      tools?: string;
    } = {},
  ): Promise<TrainingProjects> {
    const both: [string, Pick<TrainingProject, 'root' | 'files' | 'dependencies'>][] = [
      ...Object.entries(projects),
      ...Object.entries(libraries),
    ];
    const roots = both.map(([name, { root = name, dependencies }]) => [name, { root, dependencies }]);
    const shop = await Workshop.open(Object.fromEntries(roots));
    const all = new TrainingProjects(shop, projects);
    for (const [name, { root = name, files }] of both)
      for (const [path, content] of Object.entries(files)) shop.write(join(root, path), content);
    // The PATH is that of the login shell, which a test can't add to: the configuration does, besides its three settings.
    const env = tools && { PATH: `${tools}:${process.env.PATH}` };
    for (const [name, { config }] of Object.entries(projects))
      all.write(name, 'ec2.config.json', JSON.stringify(env ? { ...config, train: { env, ...config.train } } : config));
    for (const [path, content] of Object.entries(shared)) shop.write(path, content);
    shop.write('README.md', 'Not of a project.\n');
    all.git('init', '-q');
    all.git('add', '-A');
    return all;
  }

  close(): Promise<void> {
    return this.shop.close();
  }

  git(...words: string[]): string {
    const env = { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_SYSTEM: '/dev/null' };
    return execFileSync('git', ['-C', this.shop.workspace, ...words], { encoding: 'utf8', env });
  }

  root(name: string): string {
    return this.projects[name].root ?? name;
  }

  write(name: string, path: string, content: string | Buffer): void {
    this.shop.write(join(this.root(name), path), content);
  }

  /** The text of a file of a project; null without it. */
  read(name: string, path: string): string | null {
    const file = join(this.shop.workspace, this.root(name), path);
    return existsSync(file) ? readFileSync(file, 'utf8') : null;
  }

  /** The files of a project, sorted, without those that were written for it. */
  made(name: string): string[] {
    const { files } = this.projects[name];
    const ours = ['project.json', 'ec2.config.json', 'artifacts/training.log', 'artifacts/.nx-ec2.json'];
    const own = new Set([...Object.keys(files), ...ours]);
    return listed(join(this.shop.workspace, this.root(name))).filter(
      (path) => !own.has(path) && !path.includes('.git/'),
    );
  }

  /** `nx run <name>:remote-train`, as a target that Nx caches. */
  async train(name: string, options: object = {}): Promise<Trained> {
    // As Nx does before each task: with the key of the files as they are now.
    rmSync(join(stateDirectory(this.shop.workspace), 'keys'), { recursive: true, force: true });
    await this.key(name);
    const trained = await this.shop.run<Omit<Trained, 'printed'>>('remote-train', {
      project: name,
      cache: true,
      ...options,
    });
    return { ...trained, printed: this.shop.printed };
  }

  /** `nx-ec2 cache-key`. */
  async key(name: string): Promise<string> {
    const stdout = new PassThrough();
    const printer = new Printer({ plain: true, stdout: stdout as unknown as NodeJS.WriteStream });
    const listing = (root: string) => sharedListing(root, async () => this.listing());
    await cacheKey(this.root(name), this.shop.workspace, listing, printer);
    const key = String(stdout.read()).trimEnd();
    expect(key).toMatch(/^[0-9a-f]{64}\n[0-9a-f]{64}$/);
    return key;
  }

  /** The projects that `nx affected` selects when a file of the workspace has changed. */
  async affected(file: string): Promise<string[]> {
    const { filterAffected } = jest.requireActual<{
      filterAffected(
        graph: ProjectGraph,
        touched: object[],
        nxJson: object,
        packageJson: object,
      ): Promise<ProjectGraph>;
    }>(join(dirname(require.resolve('nx/package.json')), 'dist/src/project-graph/affected/affected-project-graph.js'));
    const graph = this.shop.projectGraph;
    graph.externalNodes = {};
    for (const name of Object.keys(this.projects))
      graph.nodes[name].data.targets = { 'remote-train': this.target(name) };
    const touched = [{ file, hash: '', getChanges: () => [] }];
    return Object.keys((await filterAffected(graph, touched, {}, {})).nodes).sort();
  }

  /** The inferred `remote-train`. */
  target(name: string): TargetConfiguration {
    const projectRoot = this.root(name);
    const workspaceRoot = this.shop.workspace;
    const merged = declaredConfiguration({}, readConfigFile(workspaceRoot, projectRoot));
    return inferTargets({ workspaceRoot, projectRoot, merged, names: {}, namedInput: false })['remote-train'];
  }

  /** As Nx lists them: with the files of submodules. */
  private listing(): Listing {
    const { projectGraph } = this.shop;
    const lists = [
      this.git('ls-files', '-z', '-c', '--recurse-submodules'),
      this.git('ls-files', '-z', '-o', '--exclude-standard'),
    ];
    const all = lists.flatMap((each) => each.split('\0')).filter((path) => path && this.exists(path));
    const roots = Object.values(projectGraph.nodes)
      .map(({ name, data }) => ({ name, root: data.root }))
      .sort((a, b) => b.root.length - a.root.length);
    const files: Record<string, string[]> = {};
    for (const path of all) {
      const owner = roots.find(({ root }) => path.startsWith(`${root}/`));
      if (owner) (files[owner.name] ??= []).push(path);
    }
    return { projectGraph, files };
  }

  private exists(path: string): boolean {
    return existsSync(join(this.shop.workspace, path));
  }

  /**
   * What holds for every project: three settings suffice, its results and metrics come back, nothing is left elsewhere,
   * the next command finds the result, Nx's cache has it, and the files that change the training are its key.
   */
  async expectTrained(name: string): Promise<Trained> {
    const { config, results, metrics, inputs, extra = [] } = this.projects[name];
    const settings = Object.values(config).flatMap((section) => Object.keys(section));
    expect(settings.length).toBeLessThanOrEqual(3);
    const key = await this.key(name);
    const trained = await this.train(name);
    const { run, attached, artifacts } = trained;
    expect({ attached, extra: artifacts.extra.map((each) => each.name) }).toEqual({ attached: false, extra });
    expect(artifacts).toMatchObject({ heldBack: [], unsaved: [] });
    if (metrics) expect(trained.metrics).toMatchObject(metrics);
    const made = this.made(name);
    for (const glob of results)
      expect([glob, made.filter((path) => picomatch.isMatch(path, glob))]).not.toEqual([glob, []]);
    expect(made.filter((path) => !picomatch.isMatch(path, results))).toEqual([]);
    this.expectCached(name, made);
    // Results are no inputs: the next command is a hit in Nx's cache, and elsewhere one in the store.
    expect(await this.key(name)).toBe(key);
    for (const path of made) rmSync(join(this.shop.workspace, this.root(name), path));
    expect(await this.train(name)).toMatchObject({ run, attached: 'ended' });
    expect(this.made(name)).toEqual(made);
    await this.expectKeyed(name, key, inputs);
    return trained;
  }

  /** The results of another training, of a file that was edited, lie beside those of the ones before. */
  async expectPiledUp(
    name: string,
    edited: { path: string; content: string; resumeFrom?: string },
    results: readonly string[],
  ): Promise<Trained> {
    const before = this.made(name);
    const { path, content, ...options } = edited;
    this.write(name, path, content);
    const trained = await this.train(name, options);
    expect(trained.attached).toBe(false);
    expect(this.made(name)).toEqual([...before, ...results].sort());
    return trained;
  }

  /** Nx caches the target, restores those files, and hashes none of them. */
  private expectCached(name: string, made: readonly string[]): void {
    const { cache, outputs, inputs } = this.target(name);
    const patterns = outputs!.map((each) => relative('{projectRoot}', each));
    const covers = (of: string[]) => (path: string) =>
      of.some((each) => picomatch([each, `${each}/**`], { dot: true })(path));
    const left = inputs!.flatMap((each) => (typeof each === 'string' && each.startsWith('!') ? [each.slice(1)] : []));
    expect(cache).toBe(true);
    expect(made.filter((path) => !covers(patterns)(path))).toEqual([]);
    expect(made.filter((path) => !covers(left.map((each) => relative('{projectRoot}', each)))(path))).toEqual([]);
  }

  /** An edit of each input changes the key and is an edit of the project; one elsewhere is neither. */
  private async expectKeyed(name: string, key: string, inputs: readonly string[]): Promise<void> {
    for (const input of [...inputs, 'README.md']) {
      const before = readFileSync(join(this.shop.workspace, input));
      this.shop.write(input, Buffer.concat([before, Buffer.from('\n')]));
      const isOwn = input !== 'README.md';
      const isIgnored = this.git('ls-files', input) === '';
      expect([input, (await this.key(name)) === key]).toEqual([input, !isOwn]);
      // git, and with it `nx affected`, sees no edit of a file that it ignores.
      if (!isIgnored) expect([input, (await this.affected(input)).includes(name)]).toEqual([input, isOwn]);
      this.shop.write(input, before);
    }
  }
}
