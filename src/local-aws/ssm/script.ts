import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync } from 'node:fs';
import { limited, SH } from '../instance/limited';
import { openPipe } from '../instance/pipe';
import type { Exit } from './invocation';
import { Output } from './output';

/** What Go says of a process that could not be started. */
const ERRORS: Record<string, string> = {
  ENOENT: 'no such file or directory',
  ENOTDIR: 'not a directory',
  EACCES: 'permission denied',
};

export interface ScriptOptions {
  cwd: string;
  env: NodeJS.ProcessEnv;
  /** Seconds. */
  timeout: number;
}

/** A script that runs as the agent runs it: by `sh`, with pipes, in a process group of its own. */
export class Script {
  private child?: ChildProcess;
  private killed: Exit['killed'];
  /** Whether what runs has left its process group. */
  private left = false;
  private readonly stdout = new Output();
  private readonly stderr = new Output();
  private readonly pipes = { stdout: openPipe(), stderr: openPipe() };
  private readonly timer: NodeJS.Timeout;

  /** @param onEnd called once, never before this returns. */
  constructor(
    file: string,
    { cwd, env, timeout }: ScriptOptions,
    private readonly onEnd: (exit: Exit) => void,
  ) {
    const { stdout, stderr } = this.pipes;
    stdout.reading.on('data', (data: Buffer) => this.stdout.add(data));
    stderr.reading.on('data', (data: Buffer) => this.stderr.add(data));
    // The streams, not the process: a background child that holds stdout keeps the command going.
    const streams = [stdout, stderr].map(({ reading }) => new Promise((resolve) => reading.once('close', resolve)));
    this.timer = setTimeout(() => this.kill('timeout'), timeout * 1000);
    this.timer.unref();
    // The agent runs `sh -c <path>`; its own path has no space in it. The limits are set by the shell that becomes it.
    const [program, ...args] = limited([SH, '-c', '"$0"', file]);
    try {
      // A session of its own stands in for the process group that the agent makes: killed as a whole all the same.
      const stdio = ['ignore' as const, stdout.writing, stderr.writing];
      const child = (this.child = spawn(program, args, { cwd, env, detached: true, stdio }));
      child.once('error', (error) => this.failed(error));
      child.once('exit', (code, signal) => {
        if (this.killed) setImmediate(() => this.letGo());
        void Promise.all(streams).then(() => this.ended(code, signal));
      });
    } catch (error) {
      setImmediate(() => this.failed(error as Error));
    } finally {
      closeSync(stdout.writing);
      closeSync(stderr.writing);
    }
  }

  kill(why: 'timeout' | 'cancel'): void {
    this.killed = why;
    try {
      process.kill(-this.child!.pid!, 'SIGKILL');
    } catch {
      this.left = true;
      this.letGo();
    }
  }

  /** What left the process group may hold the streams: a command that was killed does not wait for it. */
  private letGo(): void {
    for (const { reading } of Object.values(this.pipes)) reading.destroy();
  }

  private ended(code: number | null, signal: string | null): void {
    clearTimeout(this.timer);
    const texts = { stdout: this.stdout.text(), stderr: this.stderr.text() };
    if (this.left && this.killed === 'timeout') this.onEnd({ ...texts, code: 1, why: 'no such process' });
    else this.onEnd({ ...texts, code: signal ? 137 : (code ?? 1), killed: this.killed });
  }

  private failed(error: NodeJS.ErrnoException): void {
    clearTimeout(this.timer);
    this.letGo();
    const why = `fork/exec ${SH}: ${ERRORS[error.code ?? ''] ?? error.message}`;
    this.onEnd({ code: 1, stdout: '', stderr: '', why });
  }
}
