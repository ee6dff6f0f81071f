/** The executor's own options; those of the configuration (docs/reference/configuration.md) are validated by src/config. */
export interface RemoteExecExecutorSchema {
  run?: string;
  command?: string | string[];
  verbose?: boolean;
  json?: boolean;
  [configuration: string]: unknown;
}
