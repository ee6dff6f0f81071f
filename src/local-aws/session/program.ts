import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import type { SessionDocument } from './document';
import { shellWords } from './shell-words';

export interface ProgramOutput {
  /** Resolves when more may come; rejects to read no more. */
  onData(data: Buffer, stream: 'stdout' | 'stderr'): Promise<void>;
  /** @param code -1 where a signal ended it, as Go has it. */
  onEnd(code: number): void;
  onFailure(message: string): void;
}

/** What a session runs: a process with pipes, or one on a terminal. */
export class Program {
  private readonly child?: ChildProcess;

  constructor(document: SessionDocument, environment: NodeJS.ProcessEnv, output: ProgramOutput) {
    const { type, command } = document;
    const onTerminal = type !== 'NonInteractiveCommands';
    let words: string[];
    try {
      words = onTerminal
        ? ['python3', '-I', '-S', join(__dirname, 'terminal.py'), 'sh', ...(command.trim() ? ['-c', command] : [])]
        : shellWords(command);
    } catch (error) {
      setImmediate(() => output.onFailure(`Failed to parse commands input: ${(error as Error).message}\n`));
      return;
    }
    const [file, ...args] = words;
    const child = (this.child = spawn(file, args, {
      cwd: '/usr/bin',
      env: environment,
      // A session of its own, to be killed as a whole.
      detached: true,
      stdio: onTerminal ? ['pipe', 'pipe', 'ignore', 'pipe'] : ['ignore', 'pipe', 'pipe'],
    }));
    for (const pipe of child.stdio) pipe?.on('error', () => undefined);
    const streams = [pump(child.stdout!, 'stdout', output)];
    if (child.stderr) streams.push(pump(child.stderr, 'stderr', output));
    child.on('error', (error) => output.onFailure(`Error occurred starting the command: ${error.message}\n`));
    child.on('exit', (code) => void Promise.all(streams).then(() => output.onEnd(code ?? -1)));
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

async function pump(stream: Readable, name: 'stdout' | 'stderr', { onData }: ProgramOutput): Promise<void> {
  try {
    for await (const data of stream as AsyncIterable<Buffer>) await onData(data, name);
  } catch {
    // Nobody reads on.
  }
}
