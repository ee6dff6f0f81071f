import { LastWord, type ShellCommand } from '../command/session/shell-command';
import { openStream, type SessionStream } from '../command/session/stream';
import { Problem } from '../report/problem';
import type { Session } from './session';

/** The terminal that a shell is shown on. */
export interface Terminal {
  stdin: NodeJS.ReadStream;
  stdout: NodeJS.WriteStream;
}

const DOCUMENT = 'AWS-StartInteractiveCommand';

/**
 * Runs a shell of the instance on this terminal until it ends: keys go there (Ctrl+C too), what it prints comes here,
 * and so does the terminal's size. Whatever happens, the terminal is as it was afterwards.
 * @returns the shell's exit code.
 * @throws Problem NO_TERMINAL; what openStream throws; what the instance says where there is no such place;
 *   SHELL_ENDED where the session ended before the shell did.
 */
export async function openShell(
  session: Session,
  shell: ShellCommand,
  signal: AbortSignal,
  { stdin, stdout }: Terminal = process,
): Promise<number> {
  if (!stdin.isTTY) {
    throw new Problem('NO_TERMINAL', 'A shell needs a terminal, and standard input is none.', {
      next: 'Run this target in a terminal, by itself.',
    });
  }
  const word = new LastWord(shell.nonce);
  const show = (data: Buffer) => void stdout.write(word.take(data));
  const stream = await openStream(session.aws, session.instance, {
    document: DOCUMENT,
    parameters: { command: [shell.command] },
    reason: `nx-ec2: a shell for ${session.project}`,
    onOutput: show,
    onError: show,
    signal,
  });
  const release = hold(stream, { stdin, stdout });
  try {
    const { why } = await stream.ended;
    if (!word.end) {
      throw new Problem('SHELL_ENDED', `The session on ${session.instance} ended before the shell did: ${why}.`, {
        next: 'It was terminated, or its instance or its agent is gone; what ran in the background there may still run.',
      });
    }
    if ('error' in word.end) throw refusal(session.instance, word.end.error);
    return word.end.exit;
  } finally {
    release();
  }
}

/** Gives the terminal to the stream. @returns what gives it back. */
function hold(stream: SessionStream, { stdin, stdout }: Terminal): () => void {
  const typed = (data: Buffer) => stream.write(Buffer.from(data));
  const sized = () => stream.resize(stdout.columns ?? 80, stdout.rows ?? 24);
  const wasRaw = stdin.isRaw;
  stdin.setRawMode(true);
  stdin.on('data', typed);
  stdin.resume();
  stdout.on('resize', sized);
  sized();
  return () => {
    stdin.off('data', typed);
    stdout.off('resize', sized);
    stdin.setRawMode(wasRaw);
    stdin.pause();
  };
}

function refusal(instance: string, { code, message }: { code: string; message: string }): Problem {
  const next: Record<string, string> = {
    NOTHING_SYNCED: 'Sync it first: nx run <project>:remote-sync.',
    NO_RUN: 'Without --run the latest run of this project is meant.',
    NO_SUDO:
      "Sessions run as ssm-user, which needs sudo without a password; or let Session Manager run sessions as the training user (its preference 'Run As').",
    NO_USER: 'Set "user" to a login name that exists on the instance.',
    NO_PYTHON: 'Install Python 3.8 or newer on the instance.',
  };
  return new Problem(code, `${instance}: ${message}.`, { next: next[code] });
}
