/** The executor's own options; those of the configuration (docs/reference/configuration.md) are validated by src/config. */
export interface RemotePullExecutorSchema {
  run?: string;
  path?: string | string[];
  checkpoints?: string | number;
  output?: string;
  overwrite?: boolean;
  verbose?: boolean;
  json?: boolean;
  [configuration: string]: unknown;
}
