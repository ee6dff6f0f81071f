import type { EnvironmentChoice } from '../environment/environment-choice';
import type { InstanceName } from '../schema/instance-name';
import type { Output } from './outputs';
import type { Launcher } from './launcher';
import type { SettingSource } from '../sources/setting-origins';
import type { TargetName } from '../schema/executor-options';

/** The validated configuration of one command. Durations are ms, sizes bytes, command lines lists of words. */
export interface Configuration {
  projectRoot: string;
  /**
   * Decides which files the environment is made of: by the files alone, as the cache key, which knows no options of a
   * target.
   */
  declaredEnvironment: EnvironmentChoice;
  /** Where the settings are set, highest precedence first. */
  sources?: readonly SettingSource[];
  /** The digest of what the files say that can change a training's result: see `settingsDigest`. */
  declaredSettings: string;
  region?: string;
  profile?: string;
  roleArn?: string;
  bucket: string;
  prefix: string;
  bucketOwner?: string;
  kmsKeyId?: string;
  storeAccess: 'auto' | 'role' | 'presigned';
  instance: InstanceName & { startupTimeout: number };
  /** Several, for remote-sync alone; the first is `instance`. */
  instances: InstanceName[];
  pricePerHour?: number;
  remoteRoot?: string;
  user?: string;
  sync: {
    include: string[];
    exclude: string[];
    dependencies: boolean;
    tree?: string;
    transport: 'auto' | 'store' | 'archive';
    allowInline: boolean;
    commandFirst: boolean;
    sensitive: string[];
    compression: number | 'auto';
    warnAbove: number;
  };
  train: {
    script?: string;
    command?: string[];
    args: string[];
    /** null: the training is one process, or starts others by itself. */
    launcher: Launcher | null;
    /** Instances that the training runs on together, at most. */
    nodes: number;
    /** The fewest that it may run on; absent: `nodes`. */
    minNodes?: number;
    /** How long an attempt on fewer nodes trains before others are launched, ms; false: none are. */
    growAfter: number | false;
    env: Record<string, string>;
    setup: string[][] | null;
    environment: 'auto' | 'uv' | 'poetry' | 'conda' | 'pip' | 'none';
    installer: 'auto' | 'uv' | 'pip';
    /** With the output directory, which is always one. */
    outputs: Output[];
    downloadLimit: number;
    /** As outputs, for what is no result. */
    scratch: Output[];
    extraLimit: number;
    maxArtifactSize: number;
    report: boolean;
    timeout?: number;
    gracePeriod: number;
    passEnv: string[];
    secrets: Record<string, string>;
    secretsFrom: 'instance' | 'client';
    resumeArgs: string[];
    retry: { exitCodes: number[]; attempts: number };
    checkpoints: {
      keep: number;
      every?: number;
      /** In the project, beside NX_EC2_CHECKPOINT_DIR. */
      paths: Output[];
    };
    memory?: number;
    cores?: number;
    resources: { exclusive: boolean; gpus: number };
    /** Of runs that wait for resources, the highest gets its turn first. */
    priority: number;
    datasets: { source: string; path: string; cacheKey: boolean }[];
    packageIndex?: string;
    metrics: { file?: string; idle: number | false };
    onSignal?: 'detach' | 'stop';
  };
}

export interface ConfigurationInput {
  workspaceRoot: string;
  projectName: string;
  /** Workspace-relative. */
  projectRoot: string;
  nxJson: { plugins?: unknown[] };
  /** The target's options as Nx hands them over: command line, `-c` and target options, merged. */
  options: Record<string, unknown>;
  target: TargetName;
  environment?: NodeJS.ProcessEnv;
}
