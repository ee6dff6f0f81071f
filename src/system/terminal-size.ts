import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readlinkSync } from 'node:fs';
import { WriteStream } from 'node:tty';

export interface TerminalSize {
  columns: number;
  rows: number;
}

/** Returns the device of the terminal that a process prints to or reads from; null if it has none. */
export function terminalOf(pid: number): string | null {
  try {
    if (process.platform !== 'linux') {
      const name = execFileSync('ps', ['-o', 'tty=', '-p', String(pid)], { encoding: 'utf8' }).trim();
      return /^tty\w+$/.test(name) ? `/dev/${name}` : null;
    }
    const open = [1, 0, 2].map((number) => readlinkSync(`/proc/${pid}/fd/${number}`));
    return open.find((path) => /^\/dev\/(pts\/\d+|tty\w+)$/.test(path)) ?? null;
  } catch {
    return null;
  }
}

/** Reads the size of a terminal as it is now; null if it can't be told. */
export function terminalSize(device: string): TerminalSize | null {
  let descriptor: number;
  try {
    descriptor = openSync(device, constants.O_RDWR | constants.O_NOCTTY);
  } catch {
    return null;
  }
  let terminal: WriteStream;
  try {
    terminal = new WriteStream(descriptor);
  } catch {
    closeSync(descriptor);
    return null;
  }
  const { columns, rows } = terminal;
  // Closes the descriptor as well.
  terminal.destroy();
  return columns > 0 && rows > 0 ? { columns, rows } : null;
}
