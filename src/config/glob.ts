/**
 * How every glob of the configuration is read (picomatch): `*` and `**` match names that begin with a dot, and any
 * character of a name, a line break too.
 */
export const GLOB = { dot: true, flags: 's' };
