import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { until } from '../../src/system/until.fixture';
import { aliveInstances, launchedFor } from '../instances/made';
import type { Running } from '../nx';
import { Worlds, type World } from '../worlds';
import { FRAMEWORKS } from './frameworks';

const projects = join(__dirname, 'projects');
/** Projects that share the files of another one. */
const FILES_OF: Record<string, string> = { sweep: 'hydra' };
/** Files of a project that no training has written. */
const OWN =
  /^(?:project\.json|ec2\.config\.json|\.gitignore|artifacts\/(?:training\.log|\.nx-ec2\.json)|.*\.(?:py|bin|pkl|txt)|conf\/.*)$/;

interface Config {
  $schema?: string;
  train: { env?: object };
  [key: string]: unknown;
}

/** The projects in one workspace, with an instance whose Python has the frameworks. */
export class Trainings {
  readonly comparison = join(__dirname, 'compare.py');

  private constructor(
    private readonly worlds: Worlds,
    private readonly world: World,
    private readonly python: string,
  ) {}

  static async open(python: string): Promise<Trainings> {
    const worlds = new Worlds('frameworks');
    worlds.install();
    const trainings = new Trainings(worlds, await worlds.make(), python);
    trainings.write();
    return trainings;
  }

  close(): Promise<void> {
    return this.worlds.close();
  }

  private write(): void {
    const { workspace } = this.worlds;
    const env = { PATH: `${dirname(this.python)}:${process.env.PATH}` };
    const train = { environment: 'none', env, gracePeriod: '2s' };
    const options = { region: 'eu-west-1', bucket: 'nx-ec2-local', instance: this.world.launch(), train };
    writeFileSync(join(workspace, 'nx.json'), JSON.stringify({ plugins: [{ plugin: 'nx-ec2', options }] }));
    for (const name of Object.keys(FRAMEWORKS)) {
      this.make(name, name);
      if (name !== 'nanogpt') continue;
      writeFileSync(join(this.root(name), '.gitignore'), '*.bin\n*.pkl\n');
      execFileSync(this.python, [join(this.root(name), 'data/letters/prepare.py')]);
    }
    for (const words of [
      ['add', '-A'],
      ['-c', 'user.name=e2e', '-c', 'user.email=e2e@localhost', 'commit', '-qm', 'x'],
    ])
      execFileSync('git', words, { cwd: workspace });
  }

  private make(name: string, of: string): void {
    const root = this.root(name);
    mkdirSync(root, { recursive: true });
    cpSync(join(projects, FILES_OF[of] ?? of), root, { recursive: true });
    cpSync(join(projects, 'pause.py'), join(root, 'pause.py'));
    writeFileSync(join(root, 'project.json'), JSON.stringify({ name }));
  }

  private root(name: string): string {
    return join(this.worlds.workspace, 'models', name);
  }

  private config(name: string): Config {
    return JSON.parse(readFileSync(join(this.root(name), 'ec2.config.json'), 'utf8')) as Config;
  }

  private writeConfig(name: string, config: object): void {
    writeFileSync(join(this.root(name), 'ec2.config.json'), JSON.stringify(config));
  }

  /** What `training-targets` writes for a project; then the user adds what it can't know. */
  async detected(name: string): Promise<object> {
    await this.world.nx.command(['g', 'nx-ec2:training-targets', name]).ends(0);
    const { $schema: _, ...found } = this.config(name);
    this.writeConfig(name, { ...found, train: { ...found.train, ...FRAMEWORKS[name].added } });
    return found;
  }

  /** The files of a project that were not written for it, sorted. */
  private made(name: string): string[] {
    const root = this.root(name);
    return readdirSync(root, { recursive: true, withFileTypes: true })
      .filter((each) => !each.isDirectory())
      .map((each) => relative(root, join(each.parentPath, each.name)))
      .filter((path) => !OWN.test(path))
      .sort();
  }

  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  async trained(name: string): Promise<{ result: any; made: string[] }> {
    const run = await this.world.nx.run([`${name}:remote-train`, '--json']).ends(0);
    return { result: run.result, made: this.made(name) };
  }

  /** The results that the same command brings from Nx's cache when they were removed. */
  async restored(name: string): Promise<string[]> {
    for (const path of this.made(name)) rmSync(join(this.root(name), path));
    const run = await this.world.nx.run([`${name}:remote-train`, '--json']).ends(0);
    expect(run.text).toMatch(/\[local cache\]/);
    return this.made(name);
  }

  /** The same project on a spot instance, which is taken away in a step of the first attempt. */
  async interrupted(
    name: string,
    pause: number,
    unit: RegExp,
    // eslint-disable-next-line @typescript-eslint/no-explicit-any
  ): Promise<{ run: Running; result: any }> {
    const { aws } = this.world;
    const copy = `${name}-interrupted`;
    this.make(copy, name);
    for (const path of readdirSync(this.root(name), { recursive: true, encoding: 'utf8' }))
      if (/\.(?:bin|pkl)$/.test(path)) cpSync(join(this.root(name), path), join(this.root(copy), path));
    cpSync(join(this.root(name), '.gitignore'), join(this.root(copy), '.gitignore'));
    const { train, ...rest } = this.config(name);
    const instance = { type: 't3.micro', instanceProfile: 'trainer', spot: true };
    const env = { ...train.env, PAUSE_AT: String(pause) };
    this.writeConfig(copy, { ...rest, storeAccess: 'role', instance, train: { ...train, env } });
    const run = this.world.nx.run([`${copy}:remote-train`, '--json']);
    let ended = false;
    void run.ended.then(() => (ended = true));
    try {
      await until(() => ended || this.hasSaved(copy, unit), { what: `${unit} of ${copy}` });
      for (const id of aliveInstances(aws, copy)) aws.interrupt(id, { noticeMs: 8_000 });
      await run.ends(0);
    } finally {
      if (!ended) run.kill('SIGKILL');
    }
    return { run, result: run.result };
  }

  /** Whether an instance of a project has saved that checkpoint. */
  private hasSaved(name: string, unit: RegExp): boolean {
    const { aws } = this.world;
    return launchedFor(aws, name).some(({ id, tags }) => {
      const file = join(aws.instances.disk(id), 'root/runs', tags['nx-ec2:run'] ?? '-', 'checkpoints.json');
      if (!existsSync(file)) return false;
      const { last } = JSON.parse(readFileSync(file, 'utf8')) as { last: { names: { name: string }[] } | null };
      return last?.names.some(({ name }) => unit.test(name)) ?? false;
    });
  }

  /** A result of a project and of its interrupted copy. */
  results(name: string, path: string): string[] {
    return [name, `${name}-interrupted`].map((each) => join(this.root(each), path));
  }

  resumed(name: string, args: string): Promise<Running> {
    return this.world.nx.run([`${name}:remote-train`, '--resumeFrom=last', `--args=${args}`]).ends(0);
  }
}
