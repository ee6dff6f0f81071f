import type { Configuration } from '../config/settings/types';
import type { Printer } from '../report/printer';
import type { Aws } from '../aws/clients';
import type { Store } from '../store/store';
import type { StoreKeys } from '../store/keys';
import type { Owner } from '../instance/describe/ownership';
import type { PackIndex } from '../store/packs/pack-index';
import type { TransferOptions } from '../sync/context';
import type { Remote } from '../command/remote';

/** What is asked of runs: the store, and the instances that they are or were on. */
export interface RunContext {
  configuration: Configuration;
  project: string;
  workspaceRoot: string;
  printer: Printer;
  aws: Aws;
  store: Store;
  keys: StoreKeys;
  /** The runtime of any instance: a run may be on another than the configuration names by now. */
  at: (instance: string) => RemoteTarget;
  /** Says that the configuration names these: commands go there without another question. */
  allow: (instances: readonly string[]) => void;
  /** The caller's ARN. */
  caller: () => Promise<string>;
  /** The owner of what this command launches: for its tags. */
  owner: () => Promise<Owner>;
  close(): void;
}

/** What one command works with: the caller, the project, and an instance. */
export interface InstanceContext extends RunContext, RemoteTarget {
  /** The instance's id; with several, the first one's. */
  instance: string;
  instances: string[];
  tree: string;
  /** Where this machine remembers heads. */
  stateDirectory: string;
  index: PackIndex;
  transferOptions: TransferOptions;
  /** Asks for everything that must hold, and throws what does not. */
  preflight: (signal?: AbortSignal) => Promise<void>;
}

export interface RemoteTarget {
  remote: Remote;
  /** Throws where no command may be sent there: see `checkInstance`. `remote` asks it by itself. */
  allowed: () => Promise<void>;
  /** Throws INSTANCE_GONE when EC2 says that the instance does not run. */
  assertInstanceExists: () => Promise<void>;
}
