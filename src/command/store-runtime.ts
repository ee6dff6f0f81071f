import type { StoreKeys } from '../store/keys';
import type { Store } from '../store/store';
import { runtimeProgram } from './runtime-program';

/** Writes the runtime into the store. @param replace also if something is there under its name. */
export async function storeRuntime(store: Store, keys: StoreKeys, replace = false): Promise<void> {
  const { bytes, sha256 } = runtimeProgram();
  const key = keys.runtime(sha256);
  if (replace || !(await store.has(key))) await store.put(key, bytes, { onlyIfNew: !replace });
}
