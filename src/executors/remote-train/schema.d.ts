/** The executor's own options; those of the configuration (docs/reference/configuration.md) are validated by src/config. */
export interface RemoteTrainExecutorSchema {
  rerun?: boolean;
  resumeFrom?: string;
  dryRun?: boolean;
  force?: boolean;
  verbose?: boolean;
  json?: boolean;
  [configuration: string]: unknown;
}
