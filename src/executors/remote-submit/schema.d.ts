/** The executor's own options; those of the configuration (docs/CONFIGURATION.md) are validated by src/config. */
export interface RemoteSubmitExecutorSchema {
  rerun?: boolean;
  resume?: string;
  dryRun?: boolean;
  force?: boolean;
  verbose?: boolean;
  json?: boolean;
  [configuration: string]: unknown;
}
