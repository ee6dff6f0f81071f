/** The executor's own options; those of the configuration (docs/CONFIGURATION.md) are validated by src/config. */
export interface RemoteLogsExecutorSchema {
  run?: string;
  since?: string;
  tail?: number;
  follow?: boolean;
  verbose?: boolean;
  json?: boolean;
  [configuration: string]: unknown;
}
