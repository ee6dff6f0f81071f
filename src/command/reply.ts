import { z } from 'zod';
import { printableValue } from '../report/terminal-text';

/** An operation's answer: docs/reference/formats.md, "Reply". */
export type Reply<T = Record<string, unknown>> =
  | ({ v: 1; ok: true } & T)
  | { v: 1; ok: false; error: { code: string; message: string; detail: Record<string, unknown> } };

const MARK = 'NX-EC2 ';

/** Texts of a reply that have several lines: a traceback. All others are shown inside a line. */
const LINES = new Set(['trace']);

const schema = z.union([
  z.looseObject({ v: z.literal(1), ok: z.literal(true) }),
  z.object({
    v: z.literal(1),
    ok: z.literal(false),
    error: z.object({
      code: z.string().regex(/^[A-Z][A-Z0-9_]{0,63}$/),
      message: z.string(),
      detail: z.record(z.string(), z.unknown()).default({}),
    }),
  }),
]);

/** The reply among what a command printed, or null where it printed none. */
export function parseReply(stdout: string): Reply | null {
  const line = stdout
    .split('\n')
    .filter((each) => each.startsWith(MARK))
    .pop();
  if (!line) return null;
  try {
    return readReply(JSON.parse(line.slice(MARK.length)));
  } catch {
    return null;
  }
}

/** A reply from its JSON, its texts safe to print: no path in it is used to find a file. Null for what is none. */
export function readReply(value: unknown): Reply | null {
  const parsed = schema.safeParse(value);
  return parsed.success ? (printableValue(parsed.data, LINES) as Reply) : null;
}
