const WATCHED = new WeakSet<NodeJS.WriteStream>();
const FAILED = new WeakSet<NodeJS.WriteStream>();
/** A reader that has left: a closed pipe, a closed pseudo-terminal. */
const READER_GONE = ['EPIPE', 'EIO'];
let failure: Error | null = null;

/** Why output of this process was lost, other than by a reader that left: a full disk, a quota. */
export function outputFailure(): Error | null {
  return failure;
}

/**
 * Keeps this process alive when a stream fails: the terminal may go away before we do (EIO after a closed PTY, EPIPE).
 * A stream has one listener, however many printers write to it.
 */
export function surviveErrors(stream: NodeJS.WriteStream): void {
  if (WATCHED.has(stream)) return;
  WATCHED.add(stream);
  stream.on('error', (error: NodeJS.ErrnoException) => {
    FAILED.add(stream);
    if (!READER_GONE.includes(error.code ?? '')) failure ??= error;
  });
}

/**
 * Waits until what was written to a stream is with its reader, or the reader has left. Nx ends the process of an executor
 * as soon as that has returned: what a pipe has not taken by then is lost, and the exit code is that of a success.
 */
export async function drained(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.writableLength > 0) await new Promise<void>((resolve) => stream.write('', () => resolve()));
}

/** Whether writing to a stream has failed. */
export function hasFailed(stream: NodeJS.WriteStream): boolean {
  return FAILED.has(stream);
}
