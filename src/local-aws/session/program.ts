import { spawn, type ChildProcess } from 'node:child_process';
import { accessSync, closeSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { limited, SH } from '../instance/limited';
import { openPipe } from '../instance/pipe';
import type { SessionDocument } from './document';
import { shellWords } from './shell-words';
import type { SessionUser } from './user';

export interface ProgramOutput {
  /** Resolves when more may come; rejects to read no more. */
  onData(data: Buffer, stream: 'stdout' | 'stderr'): Promise<void>;
  /** @param code -1 where a signal ended it, as Go has it; 1 after a Ctrl+C, whatever it ended with. */
  onEnd(code: number): void;
  onFailure(message: string): void;
}

interface Outputs {
  stdout: Readable;
  /** Where it is apart. */
  stderr?: Readable;
}

/** A session of its own, to be killed as a whole. */
const OPTIONS = { cwd: '/usr/bin', detached: true };

/** What a session runs: a process with pipes, or one on a terminal. */
export class Program {
  private readonly child?: ChildProcess;
  /** Whether a control character was passed on to a program without a terminal. */
  private interrupted = false;

  /** @param user as whom it runs; absent: as this process. */
  constructor(document: SessionDocument, environment: NodeJS.ProcessEnv, output: ProgramOutput, user?: SessionUser) {
    const { type, command } = document;
    const onTerminal = type !== 'NonInteractiveCommands';
    const fail = (message: string) => setImmediate(() => output.onFailure(message));
    let words: string[];
    try {
      words = onTerminal ? [SH, ...(command.trim() ? ['-c', command] : [])] : shellWords(command);
    } catch (error) {
      fail(`Failed to parse commands input: ${(error as Error).message}\n`);
      return;
    }
    if (!canRun(words[0], environment.PATH)) {
      const why = `exec: "${words[0]}": executable file not found in $PATH`;
      fail(`Error occurred starting the command: ${why}\n`);
      return;
    }
    const [child, outputs] = onTerminal
      ? this.onTerminal(words, environment, user)
      : this.onPipes(words, environment, user);
    this.child = child;
    for (const pipe of child.stdio) pipe?.on('error', () => undefined);
    const streams = [pump(outputs.stdout, 'stdout', output)];
    if (outputs.stderr) streams.push(pump(outputs.stderr, 'stderr', output));
    child.on('error', (error) => output.onFailure(`Error occurred starting the command: ${error.message}\n`));
    // The agent waits for the process once more where it has passed on a signal, and the second wait has no status.
    const codeOf = (code: number | null) => (this.interrupted ? 1 : (code ?? -1));
    child.on('exit', (code) => void Promise.all(streams).then(() => output.onEnd(codeOf(code))));
  }

  /** What makes the terminal is local AWS's, and stays with its user: only the command becomes the other one. */
  private onTerminal(words: string[], env: NodeJS.ProcessEnv, user?: SessionUser): [ChildProcess, Outputs] {
    const ids = user ? `${user.uid}:${user.gid}` : '-';
    const [file, ...args] = limited(['python3', '-I', '-S', join(__dirname, 'terminal.py'), ids, ...words]);
    const child = spawn(file, args, { ...OPTIONS, env, stdio: ['pipe', 'pipe', 'ignore', 'pipe'] });
    return [child, { stdout: child.stdout! }];
  }

  private onPipes(words: string[], env: NodeJS.ProcessEnv, user?: SessionUser): [ChildProcess, Outputs] {
    const [stdout, stderr] = [openPipe(), openPipe()];
    const [file, ...args] = limited(words);
    const stdio = ['ignore' as const, stdout.writing, stderr.writing];
    try {
      return [
        spawn(file, args, { ...OPTIONS, ...user, env, stdio }),
        { stdout: stdout.reading, stderr: stderr.reading },
      ];
    } finally {
      closeSync(stdout.writing);
      closeSync(stderr.writing);
    }
  }

  /** Input for the terminal; without one, Ctrl+C and Ctrl+\ are signals and the rest is nothing. */
  write(data: Buffer): void {
    const { stdin, pid } = this.child ?? {};
    if (stdin) {
      stdin.write(data);
      return;
    }
    const control = data.find((byte) => byte === 3 || byte === 28);
    if (pid === undefined || control === undefined) return;
    try {
      process.kill(pid, control === 3 ? 'SIGINT' : 'SIGQUIT');
      this.interrupted = true;
    } catch {
      // It has ended.
    }
  }

  resize(columns: number, rows: number): void {
    (this.child?.stdio[3] as Writable | undefined)?.write(`${columns} ${rows}\n`);
  }

  kill(): void {
    if (this.child?.pid === undefined || this.child.exitCode !== null || this.child.signalCode !== null) return;
    try {
      // With its terminal gone, what runs on it is hung up.
      process.kill(-this.child.pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  }
}

/** Whether there is such a program: a path, or a name on the PATH. */
function canRun(name: string, path = ''): boolean {
  const places = name.includes('/') ? [name] : path.split(delimiter).map((directory) => join(directory, name));
  return places.some((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

async function pump(stream: Readable, name: 'stdout' | 'stderr', { onData }: ProgramOutput): Promise<void> {
  try {
    for await (const data of stream as AsyncIterable<Buffer>) await onData(data, name);
  } catch {
    // Nobody reads on.
  }
}
