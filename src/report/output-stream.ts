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
 * A stream has one listener, however many reporters print to it.
 */
export function surviveErrors(stream: NodeJS.WriteStream): void {
  if (WATCHED.has(stream)) return;
  WATCHED.add(stream);
  stream.on('error', (error: NodeJS.ErrnoException) => {
    FAILED.add(stream);
    if (!READER_GONE.includes(error.code ?? '')) failure ??= error;
  });
}

/** Whether writing to a stream has failed. */
export function hasFailed(stream: NodeJS.WriteStream): boolean {
  return FAILED.has(stream);
}
