import type { StoreKeys } from '../store/keys';
import type { Store } from '../store/store';
import { listRuns, readOrNobodys, type ReadRecord } from './record';

/** Records that are looked at, the newest, and at once. */
const LOOKED_AT = 64;
const AT_ONCE = 8;

/**
 * The project's runs on these instances of which no end is recorded, among the newest 64. One that was not heard of for
 * long may have ended all the same: its age tells. A record that can't be read is nobody's.
 */
export async function runsUnderWay(
  store: Store,
  keys: StoreKeys,
  instances: ReadonlySet<string>,
): Promise<ReadRecord[]> {
  if (!instances.size) return [];
  const ids = (await listRuns(store, keys)).slice(0, LOOKED_AT);
  const found: ReadRecord[] = [];
  for (let from = 0; from < ids.length; from += AT_ONCE) {
    const read = await Promise.all(ids.slice(from, from + AT_ONCE).map((id) => readOrNobodys(store, keys, id)));
    for (const each of read)
      if (each && each.record.state !== 'ended' && instances.has(each.record.instance)) found.push(each);
  }
  return found;
}
