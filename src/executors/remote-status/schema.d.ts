/** The executor's own options; those of the configuration (docs/reference/configuration.md) are validated by src/config. */
export interface RemoteStatusExecutorSchema {
  run?: string;
  watch?: boolean;
  limit?: number;
  verbose?: boolean;
  json?: boolean;
  [configuration: string]: unknown;
}
