import type { Aws } from '../../aws/clients';
import type { Store } from '../../store/store';
import type { StoreKeys } from '../../store/keys';
import type { Owner } from '../describe/ownership';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import type { Printer } from '../../report/printer';
import type { RunInstancesTimeouts } from './run-instances';

export interface EnsureOptions {
  aws: Aws;
  store: Store;
  keys: StoreKeys;
  /** The store's, as configured: for the tag. */
  prefix?: string;
  owner: Owner;
  launchSpec: LaunchSpec;
  /** How many are launched together; absent: one. */
  count?: number;
  /** The fewest of them that are enough; absent: all. */
  min?: number;
  /** The ids of those that are ready: if they are enough, others that exist are not waited for. */
  prefer?: ReadonlySet<string>;
  /** The slot of a pool for which one is launched; absent: it is of no pool. */
  slot?: number;
  /** As configured, USD. */
  pricePerHour?: number;
  /** `remoteRoot`, as configured. */
  root?: string | null;
  by: 'remote-up' | 'remote-train';
  /** The run that the instance is launched for: if none starts there, it ends. A member of a pool serves others after it. */
  run?: string;
  /** ms since the epoch: the run's, from its first instance; absent: this is the first. */
  deadline?: number;
  /** Whether nothing runs on an instance of the owner's, as it says itself. One that does not answer is not idle. */
  isIdle: (instance: string) => Promise<boolean>;
  printer: Printer;
  signal?: AbortSignal;
  timeouts?: Partial<LaunchTimeouts>;
}

/** How long each kind of doubt is waited out, ms. */
export interface LaunchTimeouts extends RunInstancesTimeouts {
  /** After so long, what a killed launch has launched is seen by EC2's lists. */
  sure: number;
  /** A journal that others write is waited for, and no longer since EC2 last answered something new. */
  others: number;
}
