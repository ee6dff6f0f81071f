import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { z } from 'zod';
import { text } from '../../report/text-schema';
import { INTERPRETERS } from '../script';

/** Where a shell is wanted. */
export interface ShellPlace {
  /** Of nx-ec2 on the instance; null: the instance's own. */
  root: string | null;
  /** Null: the latest of the project in the tree, or the tree itself. */
  run: string | null;
  tree: string;
  project: string;
  /** Workspace-relative. */
  projectRoot: string;
  user: string | null;
  /** A server in the shell's place. */
  serve?: ServerCommand;
}

/** A server that is to listen on 127.0.0.1. */
export interface ServerCommand {
  /** Programs with arguments, of which the first that exists is started; `{port}` stands for the port. */
  programs: string[][];
  /** Arguments that are added where the user is root. */
  asRoot: string[];
  /** The variable that gets the token, the first line of the terminal; null: no token. */
  tokenVariable: string | null;
}

export interface ShellCommand {
  /** One line for `sh -c` of AWS-StartInteractiveCommand; no text of a user's is in it but as base64. */
  command: string;
  /** What its last word begins with, which no program can have printed. */
  nonce: string;
}

/** How a shell ended: its exit code, or why there was none. */
export type ShellEnd = { exit: number } | { error: { code: string; message: string } };

/** What comes before: the token may be sent; the server listens. */
export type ServerWord = { ready: true } | { listening: number };

const serverWord = z.union([
  z.object({ ready: z.literal(true) }),
  z.object({ listening: z.number().int().min(1).max(65_535) }),
]);

const shellEnd = z.union([
  z.object({ exit: z.number().int().min(0).max(255) }),
  z.object({ error: z.object({ code: z.string().regex(/^[A-Z_]{1,40}$/), message: text() }) }),
]);

/** A longer last word is none, bytes. */
const MAX_COMMAND_BYTES = 64 * 1024;

const BOOT = 'import base64,sys,zlib;exec(zlib.decompress(base64.b64decode(sys.argv[1])))';

export function shellCommand(place: ShellPlace): ShellCommand {
  const nonce = randomBytes(16).toString('hex');
  const program = deflateSync(readFileSync(join(__dirname, 'shell.py'))).toString('base64');
  const request = Buffer.from(JSON.stringify(place)).toString('base64');
  const missing = Buffer.from(
    JSON.stringify({ error: { code: 'NO_PYTHON', message: 'there is no Python on the PATH' } }),
  ).toString('base64');
  const command = [
    'PATH="$PATH:/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin"',
    `for python in ${INTERPRETERS}; do command -v "$python" >/dev/null 2>&1 && NX_EC2_SHELL_NONCE=${nonce} exec "$python" -I -S -B -c '${BOOT}' '${program}' '${request}' "$NX_EC2_ROOT"; done`,
    `printf '\\033_nx-ec2 ${nonce} ${missing}\\033\\\\'`,
  ].join('; ');
  return { command, nonce };
}

/** Takes the words of a shell's program out of what a terminal gets, of which the last tells how it ended. */
export class LastWord {
  end?: ShellEnd;
  private held: Buffer = Buffer.alloc(0);
  private readonly begin: Buffer;

  /** @param onWord gets the words before the last. */
  constructor(
    nonce: string,
    private readonly onWord?: (word: ServerWord) => void,
  ) {
    this.begin = Buffer.from(`\u001b_nx-ec2 ${nonce} `);
  }

  /** @returns what is to be shown; what may be the beginning of the word is kept back until more comes. */
  take(data: Buffer): Buffer {
    // Nothing comes after it.
    if (this.end) return Buffer.alloc(0);
    const all = Buffer.concat([this.held, data]);
    const at = all.indexOf(this.begin);
    if (at === -1) {
      const kept = this.mayBegin(all);
      this.held = all.subarray(all.length - kept);
      return all.subarray(0, all.length - kept);
    }
    const from = at + this.begin.length;
    const to = all.indexOf('\u001b\\', from);
    this.held = all.subarray(at);
    const shown = all.subarray(0, at);
    if (to === -1) {
      if (all.length - from <= MAX_COMMAND_BYTES) return shown;
      this.end = NO_END;
      this.held = Buffer.alloc(0);
      return shown;
    }
    const word = Buffer.from(all.toString('latin1', from, to), 'base64');
    const rest = all.subarray(to + 2);
    const before = this.onWord && parseWord(word, serverWord);
    if (before) {
      this.held = Buffer.alloc(0);
      this.onWord!(before);
      return Buffer.concat([shown, this.take(rest)]);
    }
    this.end = parseWord(word, shellEnd) ?? NO_END;
    this.held = rest;
    return shown;
  }

  /** How many of the last bytes are a prefix of `begin`. */
  private mayBegin(data: Buffer): number {
    for (let length = Math.min(this.begin.length - 1, data.length); length > 0; length--)
      if (data.subarray(data.length - length).equals(this.begin.subarray(0, length))) return length;
    return 0;
  }
}

const NO_END: ShellEnd = { error: { code: 'SESSION_PROTOCOL', message: "the shell's exit message is not valid" } };

function parseWord<T>(data: Buffer, schema: z.ZodType<T>): T | undefined {
  try {
    return schema.safeParse(JSON.parse(data.toString())).data;
  } catch {
    return undefined;
  }
}
