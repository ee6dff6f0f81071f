/** An operation's answer: docs/FORMAT.md, "Reply". */
export type Reply<T = Record<string, unknown>> =
  | ({ v: 1; ok: true } & T)
  | { v: 1; ok: false; error: { code: string; message: string; detail: Record<string, unknown> } };

const MARK = 'NX-EC2 ';

/** The reply among what a command printed, or null where it printed none. */
export function parseReply(stdout: string): Reply | null {
  const line = stdout
    .split('\n')
    .filter((each) => each.startsWith(MARK))
    .pop();
  if (!line) return null;
  try {
    const value: unknown = JSON.parse(line.slice(MARK.length));
    const reply = value as Reply;
    if (reply?.v !== 1 || typeof reply.ok !== 'boolean') return null;
    return reply;
  } catch {
    return null;
  }
}
