import bytes from 'bytes';
import ms from 'ms';
import { z } from 'zod';

/** Nx makes numbers of what looks like one: they are refused here, with the form that works. */
const text = z.union([z.string(), z.number().transform(String)]);

/** `"90s"`, `"30m"`, `"8h"`, `"2d"` → ms. A number without a unit is refused. */
export const duration = text.transform((value, context) => {
  const parsed = /^\s*\d+(\.\d+)?\s*[a-z]+\s*$/i.test(value) ? ms(value.trim() as ms.StringValue) : undefined;
  if (parsed === undefined || !(parsed > 0)) {
    context.addIssue({ code: 'custom', message: 'must be a duration with a unit: "90s", "30m", "8h", "2d"' });
    return z.NEVER;
  }
  return parsed;
});

/** `"500MB"`, `"2GB"` → bytes (powers of 1,024). A number without a unit is refused. */
export const size = text.transform((value, context) => {
  const parsed = /^\s*\d+(\.\d+)?\s*(b|kb|mb|gb|tb)\s*$/i.test(value) ? bytes.parse(value.trim()) : null;
  if (parsed === null) {
    context.addIssue({ code: 'custom', message: 'must be a size with a unit: "500MB", "2GB"' });
    return z.NEVER;
  }
  return parsed;
});
