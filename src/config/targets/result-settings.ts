import { hash } from 'node:crypto';
import type { Raw } from '../schema/merge';

/** Settings of `train` that do not change what a training results in, so that they are not part of its cache key. */
const NOT_RESULT = new Set([
  ...[
    'timeout',
    'gracePeriod',
    'maxArtifactSize',
    'memory',
    'cores',
    'resources',
    'priority',
    'retry',
    'onSignal',
    'metrics',
    'report',
    'checkpoints',
    'growAfter',
  ],
  ...['secrets', 'secretsFrom', 'packageIndex', 'scratch', 'extraLimit'],
]);

/**
 * Computes the digest of the settings, as they are written, that can change a training's result. It is part of the
 * cache key by the runtime input of remote-train. They are no options of the inferred target, since Nx resolves
 * `{workspaceRoot}`, `{projectRoot}` and `{projectName}` in options: the executor could not tell what was written.
 */
export function settingsDigest({ train }: { train: Raw }): string {
  const settings = Object.entries(train).filter(([key]) => !NOT_RESULT.has(key));
  return hash('sha256', JSON.stringify(settings.sort(([a], [b]) => (a < b ? -1 : 1))), 'hex');
}
