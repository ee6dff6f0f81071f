/** A run's id: docs/reference/formats.md, "Run ids". The runtime has the same pattern, generated from this one. */
export const RUN_ID = /^\d{8}-\d{6}-[a-z0-9-]{1,40}-[a-z2-7]{6}$/;

export const INSTANCE_ID = /^i-[0-9a-f]{8,17}$/;

/** Whether a text has the shape of a run's id: any other is no part of a key. */
export function isRunId(text: string): boolean {
  return RUN_ID.test(text);
}
