import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify, stripVTControlCharacters } from 'node:util';
import { until } from '../src/system/until.fixture';

/** An Nx of a workspace, with the plugin installed. */
export class Nx {
  constructor(
    readonly workspace: string,
    private readonly environment: NodeJS.ProcessEnv,
  ) {}

  /** A project of one script. */
  project(
    name: string,
    script: string,
    config: { instance: string | object; train?: object; [key: string]: unknown },
  ): void {
    const directory = join(this.workspace, 'models', name);
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'project.json'), JSON.stringify({ name }));
    writeFileSync(join(directory, '.gitignore'), 'artifacts\n');
    writeFileSync(join(directory, 'train.py'), script);
    const { train, ...rest } = config;
    writeFileSync(
      join(directory, 'ec2.config.json'),
      JSON.stringify({ ...rest, train: { script: 'train.py', environment: 'none', gracePeriod: '2s', ...train } }),
    );
  }

  /** `nx run`, of the first word. */
  run(words: string[], environment: NodeJS.ProcessEnv = {}): Running {
    return this.command(['run', words[0], '--outputStyle=stream', ...words.slice(1)], environment);
  }

  /** The same on a terminal, with Ctrl+C so many times as soon as it has said that. */
  async onTerminal(word: string, times: number, words: string[]): Promise<OnTerminal> {
    const program = [join(__dirname, 'terminal.py'), word, String(times), 'npx', 'nx', 'run', ...words];
    const { CI: _, ...environment } = this.environment;
    const { stdout } = await promisify(execFile)('python3', program, { cwd: this.workspace, env: environment });
    const said = JSON.parse(stdout) as OnTerminal;
    return { ...said, text: stripVTControlCharacters(said.text) };
  }

  /** `nx run` with its output in a file: of a pipe whose reader is slow, Nx itself loses what it has not written yet. */
  runToFile(words: string[], file: string): Promise<number | null> {
    const nx = this.startToFile(words, file);
    return new Promise((resolve) => nx.once('close', resolve));
  }

  /** The same, for a test that sends it a signal. */
  startToFile(words: string[], file: string): ChildProcess {
    const output = openSync(file, 'w');
    const nx = spawn('node_modules/.bin/nx', ['run', words[0], '--outputStyle=stream', ...words.slice(1)], {
      cwd: this.workspace,
      env: this.environment,
      stdio: ['ignore', output, output],
    });
    closeSync(output);
    return nx;
  }

  command(words: string[], environment: NodeJS.ProcessEnv = {}): Running {
    return new Running(
      spawn('node_modules/.bin/nx', words, {
        cwd: this.workspace,
        env: { ...this.environment, ...environment },
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    );
  }
}

/** What a program on a terminal has said, and how long after the first Ctrl+C it ended. */
export interface OnTerminal {
  seconds: number;
  status: number;
  text: string;
}

export class Running {
  text = '';
  readonly ended: Promise<number | null>;
  private exited = false;

  constructor(private readonly process: ChildProcess) {
    for (const stream of [process.stdout!, process.stderr!])
      stream.on('data', (data: Buffer) => (this.text += stripVTControlCharacters(data.toString())));
    this.ended = new Promise((resolve) => process.once('close', (code) => resolve(code)));
    void this.ended.then(() => (this.exited = true));
  }

  /** Waits for its end, which must be with that exit code: otherwise the error has all of its output. */
  async ends(code: number): Promise<this> {
    await until(() => this.exited, { what: () => `its end; it printed:\n${this.text}`, seconds: 900 });
    const ended = await this.ended;
    if (ended !== code) throw new Error(`it ended with ${ended}, not ${code}:\n${this.text}`);
    return this;
  }

  /** Waits until it has printed that. Throws at once if it ends before. */
  async said(what: string | RegExp): Promise<void> {
    const holds = () => (typeof what === 'string' ? this.text.includes(what) : what.test(this.text));
    await until(() => holds() || this.exited, { what: () => `${what} in:\n${this.text}` });
    if (!holds()) throw new Error(`it ended and never printed ${what}:\n${this.text}`);
  }

  /** A signal to it and all that it has started. */
  kill(signal: NodeJS.Signals): void {
    process.kill(-this.process.pid!, signal);
  }

  /** The id of the run that it is about. */
  get id(): string {
    const found = /\d{8}-\d{6}-[a-z0-9-]+-[a-z2-7]{6}/.exec(this.text);
    if (!found) throw new Error(`no run in:\n${this.text}`);
    return found[0];
  }

  /** The line that `--json` prints. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  get result(): any {
    const line = this.text.split('\n').find((each) => each.includes('{"success"'));
    if (!line) throw new Error(`no result in:\n${this.text}`);
    return JSON.parse(line.slice(line.indexOf('{')));
  }

  /** What the training has printed, line by line. */
  get steps(): number[] {
    return [...this.text.matchAll(/step (\d+) of/g)].map(([, step]) => Number(step));
  }

  /** What our side has said besides the log, without what differs each time. */
  says(project: string): string[] {
    return (
      this.text
        .split('\n')
        .filter((line) => line.startsWith(`${project}: `))
        .map((line) => line.slice(project.length + 2))
        // Of the training's own words only what it means to say: how Python words an error differs.
        .filter((line) => !/^(Traceback \(most| {2}File "| {4}|\w+Error: )/.test(line))
        .filter((line) => !/^(step \d+ of|Synced |Training |Ctrl\+C |Artifacts: |This training )/.test(line))
        .map((line) =>
          line
            // Which of several requests meets a fault first is chance.
            .replace(/\(Could not [^)]*\)/g, '(Could not read ‹object›)')
            .replace(/s3:\/\/\S+\.(?=\s|$)/g, 's3://‹object›.')
            .replace(/\d{8}-\d{6}-[a-z0-9-]+-[a-z2-7]{6}/g, '‹run›')
            .replace(/i-[0-9a-f]{17}/g, '‹instance›')
            .replace(/\/\S*\/runs\/[^\s)]+/g, '‹directory›')
            .replace(/\b\d+(\.\d+)? s\b|\b\d+m \d\ds\b/g, '‹time›')
            .replace(/http:\/\/127\.0\.0\.1:\d+\S*/g, '‹endpoint›')
            .replace(/\b127\.0\.0\.1:\d+/g, '‹endpoint›')
            .replace(new RegExp(project, 'g'), 'model')
            .trim(),
        )
        .filter((line, index, all) => line && all.indexOf(line) === index)
    );
  }
}
