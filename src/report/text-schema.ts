import { z } from 'zod';
import { printableValue, sanitize } from './terminal-text';

/** A text from a stranger that is only shown: made safe to print where it comes in. */
export const text = (max = 4096) =>
  z
    .string()
    .max(max)
    .transform((value) => sanitize(value, Infinity));

/** A value of any shape, whose texts are only shown. */
export const shown = z.unknown().transform((value) => printableValue(value));

/** A path, relative, `/`-separated: its characters are kept, since it leads to a file. Made printable where it is shown. */
export const path = (max = 4096) =>
  z
    .string()
    .min(1)
    .max(max)
    .refine((value) => !value.includes('\0'), 'holds a NUL');

/** A name that others compare and put into keys: visible ASCII, one word. */
export const word = z.string().regex(/^[!-~]{1,512}$/, 'is no name');
