/** What an object is written from: in parts, where they need not be joined. */
export type Body = Buffer | readonly Buffer[];

export function bodySize(body: Body): number {
  return Buffer.isBuffer(body) ? body.length : body.reduce((sum, { length }) => sum + length, 0);
}

/** The same input for the SDK, which takes no parts. */
export function withJoinedBody<T>(input: T): T {
  const { Body: parts } = input as { Body?: unknown };
  return Array.isArray(parts) ? { ...input, Body: Buffer.concat(parts as Buffer[]) } : input;
}
