import { LastWord, type ShellCommand } from '../../command/session/shell-command';
import { openStream, type SessionStream } from '../../command/session/stream';
import { Problem } from '../../report/problem';
import { terminalOf, terminalSize, type TerminalSize } from '../../system/terminal-size';
import { findNxProcess } from '../../workspace/invocation';
import type { InstanceContext } from '../../context/types';
import { sessionRefusal } from '../../command/session/session-refusal';

/** The terminal that a shell is shown on. */
export interface Terminal {
  stdin: NodeJS.ReadStream;
  stdout: NodeJS.WriteStream;
  /** Its size, where `stdout` does not tell it. */
  size?: () => TerminalSize | null;
}

/** Between two looks at the size of a terminal that sends no signal when it changes, ms. */
const SIZE_POLL_MS = 500;

const DOCUMENT = 'AWS-StartInteractiveCommand';
/** From a shell's end to that of its session, ms: then it is ended from here. */
const CLOSE_TIMEOUT_MS = 3_000;

/**
 * Runs a shell of the instance on this terminal until it ends: keys go there (Ctrl+C too), what it prints comes here,
 * and so does the terminal's size. Whatever happens, the terminal is as it was afterwards.
 * @returns the shell's exit code.
 * @throws Problem NO_TERMINAL; what openStream throws; what the instance says where there is no such place;
 *   SHELL_ENDED where the session ended before the shell did.
 */
export async function openShell(
  context: InstanceContext,
  shell: ShellCommand,
  signal: AbortSignal,
  terminal: Terminal = nxTerminal(),
): Promise<number> {
  const { stdin, stdout } = terminal;
  if (!stdin.isTTY) {
    throw new Problem('NO_TERMINAL', 'A shell needs a terminal, and standard input is not one.', {
      next: 'Run this target in a terminal, without other targets.',
    });
  }
  const word = new LastWord(shell.nonce);
  let said!: () => void;
  const ended = new Promise<void>((resolve) => (said = resolve));
  const show = (data: Buffer) => {
    stdout.write(word.take(data));
    if (word.end) said();
  };
  const stream = await openStream(context.aws, context.instance, {
    document: DOCUMENT,
    parameters: { command: [shell.command] },
    reason: `nx-ec2: a shell for ${context.project}`,
    onOutput: show,
    onError: show,
    signal,
  });
  const release = hold(stream, terminal);
  let timer: NodeJS.Timeout | undefined;
  void ended.then(() => (timer = setTimeout(() => void stream.close().catch(() => undefined), CLOSE_TIMEOUT_MS)));
  try {
    const { why } = await stream.ended;
    if (!word.end) {
      throw new Problem('SHELL_ENDED', `The session on ${context.instance} ended before the shell did: ${why}.`, {
        next: 'The session was terminated, or its instance or SSM agent is gone. Background processes of the shell may still run.',
      });
    }
    if ('error' in word.end) throw sessionRefusal(context.instance, word.end.error);
    return word.end.exit;
  } finally {
    clearTimeout(timer);
    release();
  }
}

/**
 * This process's terminal with the size of the one that nx runs in. In its default output style nx runs us in a
 * pseudo-terminal that keeps the size of the start; with `--outputStyle=stream` our standard output is a pipe.
 */
function nxTerminal(): Terminal {
  const nx = findNxProcess();
  const device = nx ? terminalOf(nx.pid) : null;
  return { stdin: process.stdin, stdout: process.stdout, size: () => (device === null ? null : terminalSize(device)) };
}

/** Gives the terminal to the stream. @returns what gives it back. */
function hold(stream: SessionStream, { stdin, stdout, size }: Terminal): () => void {
  const typed = (data: Buffer) => stream.write(Buffer.from(data));
  let last = '';
  const sized = () => {
    const { columns, rows } = size?.() ?? { columns: stdout.columns || 80, rows: stdout.rows || 24 };
    if (last === `${columns} ${rows}`) return;
    last = `${columns} ${rows}`;
    stream.resize(columns, rows);
  };
  const timer = setInterval(sized, SIZE_POLL_MS);
  const wasRaw = stdin.isRaw;
  stdin.setRawMode(true);
  stdin.on('data', typed);
  stdin.resume();
  stdout.on('resize', sized);
  sized();
  return () => {
    clearInterval(timer);
    stdin.off('data', typed);
    stdout.off('resize', sized);
    stdin.setRawMode(wasRaw);
    stdin.pause();
  };
}
