import { existsSync } from 'node:fs';

/** The soft limit of open files that systemd gives a service, and the agent and cloud-init pass on. */
const MAX_OPEN_FILES = 1024;

/** `sh` as the agent finds it on an instance. */
export const SH = existsSync('/usr/bin/sh') ? '/usr/bin/sh' : '/bin/sh';

/** The command line that runs another one under an instance's limits. Where the hard limit is lower, that one holds. */
export function limited(words: readonly string[]): string[] {
  return [SH, '-c', `ulimit -S -n ${MAX_OPEN_FILES} 2>/dev/null; exec "$@"`, 'sh', ...words];
}
