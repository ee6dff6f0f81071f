import { cut } from './output';

/** What the service knows of a command on one instance. */
export interface Invocation {
  commandId: string;
  instance: string;
  comment: string;
  /** As they were sent, references to parameters included. */
  parameters: Record<string, string[]>;
  /** The lines of `commands`; the agent puts the values of parameters in place of their references. */
  script: string;
  workingDirectory: string;
  /** Seconds. */
  executionTimeout: number;
  status: 'Pending' | 'InProgress' | 'Success' | 'Failed' | 'TimedOut' | 'Cancelled' | 'Cancelling';
  details: string;
  code: number;
  stdout: string;
  stderr: string;
  requested: number;
  /** Seconds. */
  deliveryTimeout: number;
  /** The agent had no room for it. Nothing of that is told by the service. */
  refused?: true;
  started?: number;
  ended?: number;
}

const API_STDERR_BYTES = 8_000;

/** What a command printed. */
type Printed = Pick<Invocation, 'stdout' | 'stderr'>;

/**
 * Gives an invocation its final status. A later one changes nothing.
 * @param details as the service words the status. @param code -1: it never started.
 */
export function end(
  invocation: Invocation,
  status: Invocation['status'],
  details: string,
  code = -1,
  { stdout, stderr }: Printed = { stdout: '', stderr: '' },
): void {
  if (invocation.ended !== undefined) return;
  Object.assign(invocation, {
    status,
    details,
    code,
    stdout,
    stderr: cut(Buffer.from(stderr), API_STDERR_BYTES),
    ended: Date.now(),
  });
}

/** How a command's process ended. */
export interface Exit {
  code: number;
  killed?: 'timeout' | 'cancel';
  stdout: string;
  stderr: string;
  /** Why the agent calls it failed, where that is not the exit status. */
  why?: string;
}

/** Ends an invocation by the exit table of AWS-RunShellScript. */
export function endByExit(invocation: Invocation, { code, killed, stdout, stderr, why }: Exit): void {
  const text = `\nStep exited with code ${code}.`;
  const failed = `${stderr}failed to run commands: ${why ?? `exit status ${code}`}`;
  if (killed === 'cancel') end(invocation, 'Cancelled', 'Cancelled', 137, { stdout, stderr });
  else if (killed === 'timeout' || code === 137)
    end(invocation, 'TimedOut', 'Execution Timed Out', 137, { stdout, stderr });
  else if (code === 0) end(invocation, 'Success', 'Success', code, { stdout, stderr });
  else if (code === 168) end(invocation, 'Success', 'Success', code, { stdout: stdout + text, stderr: '' });
  else if (code === 169) end(invocation, 'Failed', 'Failed', code, { stdout: stdout + text, stderr: failed + text });
  else end(invocation, 'Failed', 'Failed', code, { stdout, stderr: failed });
}
