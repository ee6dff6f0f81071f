export interface UntilOptions {
  /** What is waited for, for the error. */
  what?: string | (() => string);
  /** Between two looks, ms. */
  everyMs?: number;
  /** How long it is waited for, s: far longer than a busy machine needs, and shorter than a test may take. */
  seconds?: number;
}

/** Polls until `holds` returns a truthy value, and returns that value. Throws an error that names what did not come. */
export async function until<T>(
  holds: () => T | Promise<T>,
  { what = `${holds}`, everyMs = 20, seconds = 240 }: UntilOptions = {},
): Promise<NonNullable<Awaited<T>>> {
  for (const end = performance.now() + seconds * 1000; ;) {
    const found = await holds();
    if (found) return found;
    if (performance.now() > end)
      throw new Error(`not within ${seconds} s: ${typeof what === 'string' ? what : what()}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
