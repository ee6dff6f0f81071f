import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, constants, openSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Pipe {
  /** Ends when no process holds the other end any more. */
  reading: Socket;
  /** To be handed to a process, and closed here. */
  writing: number;
}

/** Opens a pipe. What Node gives a child for one is a socket, which programs can tell from a pipe. */
export function openPipe(): Pipe {
  const path = join(tmpdir(), `nx-ec2-pipe-${randomBytes(8).toString('hex')}`);
  execFileSync('mkfifo', ['-m', '600', path]);
  try {
    // A reader that does not block waits for no writer; a writer that finds a reader does not wait either.
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const writing = openSync(path, constants.O_WRONLY);
      return { reading: new Socket({ fd, readable: true, writable: false }), writing };
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  } finally {
    rmSync(path);
  }
}
