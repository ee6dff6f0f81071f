import { closeSync, constants, fstatSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isatty } from 'node:tty';

/** The process that started this one. Asked for early: when it has ended, another takes its place. */
const STARTED_BY = process.ppid;
/** A pipe that is full is not waited for: its reader may have stopped reading. */
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK | constants.O_NOCTTY;
/** Nx writes what a task prints to a file at once: how long that may take on a busy machine, ms. */
const PASS_ON_TIMEOUT_MS = 1_000;
const PASS_ON_POLL_MS = 50;
/** The most output of other tasks that is searched, bytes. */
const SEARCHED_BYTES = 1024 * 1024;

interface Unconfirmed {
  text: string;
  output: string;
  /** The file's size before the text was printed. */
  from: number;
}

/**
 * Writes to the standard output of Nx what Nx may not pass on: after a SIGINT, it prints nothing any more, though it
 * still reads what its tasks print. It sends its tasks a SIGTERM then, as it does after a SIGTERM, when it still prints.
 *
 * Nx's own output is found on Linux only (`/proc`). A file that was opened by `>` and not by `>>` gets the text at its
 * end, and what the same shell command prints there later overwrites it. What cannot be written is dropped.
 */
export class PastNx {
  private unconfirmed: Unconfirmed[] = [];

  /** @param isSilent Nx got a SIGINT; else that is not known. */
  constructor(private readonly isSilent: boolean) {}

  /**
   * Writes a text that this process prints as well: at once if Nx is silent, otherwise in `settle`, and only to a file.
   * @param stream 1 for standard output, 2 for standard error.
   * @returns whether a terminal got it.
   */
  write(text: string, stream: 1 | 2): boolean {
    const output = `/proc/${STARTED_BY}/fd/${stream}`;
    const size = sizeOfOther(output, stream);
    if (size === null) return false;
    if (this.isSilent) return append(output, text);
    if (size.isFile) this.unconfirmed.push({ text, output, from: size.bytes });
    return false;
  }

  /** Writes what Nx has not passed on by now. */
  async settle(): Promise<void> {
    const end = performance.now() + PASS_ON_TIMEOUT_MS;
    while ((this.unconfirmed = this.unconfirmed.filter(isMissing)).length && performance.now() < end)
      await sleep(PASS_ON_POLL_MS);
    for (const { output, text } of this.unconfirmed.splice(0)) append(output, text);
  }
}

/** Writes a text to the terminal in which Nx was started, if there is one. */
export function writeToTerminal(text: string): void {
  append('/dev/tty', text);
}

/** Whether a terminal got the text. */
function append(path: string, text: string): boolean {
  return (
    tryFile(path, APPEND, (file) => {
      writeSync(file, text);
      return isatty(file);
    }) ?? false
  );
}

/** Whether a file lacks the last line of a text. Nx puts the project's name before each line. */
function isMissing({ text, output, from }: Unconfirmed): boolean {
  const found = tryFile(output, constants.O_RDONLY, (file) => {
    const since = Buffer.alloc(Math.max(0, Math.min(SEARCHED_BYTES, fstatSync(file).size - from)));
    const length = readSync(file, since, 0, since.length, from);
    return since.toString('utf8', 0, length).includes(text.trim().split('\n').at(-1)!);
  });
  return found === false;
}

function tryFile<T>(path: string, flags: number, use: (file: number) => T): T | null {
  try {
    const file = openSync(path, flags);
    try {
      return use(file);
    } finally {
      closeSync(file);
    }
  } catch {
    return null;
  }
}

/** What Nx's output is, or null if this process has it as its own and prints there by itself. */
function sizeOfOther(path: string, stream: number): { isFile: boolean; bytes: number } | null {
  try {
    const [theirs, own] = [statSync(path), fstatSync(stream)];
    if (theirs.dev === own.dev && theirs.ino === own.ino) return null;
    return { isFile: theirs.isFile(), bytes: theirs.size };
  } catch {
    return null;
  }
}
