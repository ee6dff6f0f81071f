import type { ExecutorContext } from '@nx/devkit';
import { CONFIG_FILE, declaredConfiguration, readConfigFile } from '../../config/sources/config-file';
import { pluginOptions } from '../../config/sources/plugin-options';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import type { Configuration } from '../../config/settings/types';

/** Where Nx caches the target, data that only the target's options name is no part of the cache key. */
export function assertDataIsHashed(configuration: Configuration, context: ExecutorContext): void {
  if (!context.target?.cache) return;
  const { sync } = declaredConfiguration(
    pluginOptions(context.nxJsonConfiguration ?? {}, configuration.projectRoot),
    readConfigFile(context.root, configuration.projectRoot),
  );
  const declared = new Set((sync.include ?? []) as string[]);
  const extra = configuration.sync.include.find((pattern) => !declared.has(pattern));
  if (extra === undefined) return;
  throw new Problem(
    'INCLUDE_NOT_HASHED',
    `"sync.include" names ${sanitizeForTerminal(extra)} in the options of ${context.projectName}:${context.targetName}, where the cache key does not see it: a later hit could restore the result of other data.`,
    { next: `Name it in ${CONFIG_FILE} (its contents are hashed then), or set "cache": false on the target.` },
  );
}
