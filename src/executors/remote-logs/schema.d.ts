/** The executor's own options; those of the configuration (docs/reference/configuration.md) are validated by src/config. */
export interface RemoteLogsExecutorSchema {
  run?: string;
  since?: string;
  tail?: number;
  follow?: boolean;
  verbose?: boolean;
  json?: boolean;
  [configuration: string]: unknown;
}
