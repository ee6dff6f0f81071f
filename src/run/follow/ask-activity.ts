import type { Aws } from '../../aws/clients';
import type { ActivityReply } from '../../command/plan';
import { Remote } from '../../command/remote';
import { assertRunning } from '../../instance/describe/find';
import type { InventoryInstance } from '../../instance/inventory/inventory';
import { readTags } from '../../instance/describe/tags';
import { mapConcurrent } from '../../system/side-by-side';
import { StoreKeys } from '../../store/keys';
import type { Store } from '../../store/store';

const CONCURRENCY = 8;
/** An instance that has not answered by then is not idle, ms. */
const ACTIVITY_TIMEOUT_MS = 60_000;

/** What an instance says of itself; null: it does not say. `reason`: what runs there, or why it does not say. */
export interface Activity {
  says: 'idle' | 'busy' | null;
  reason: string;
}

/** Asks instances whether anything runs there. @param prefix of the store in its bucket. */
export async function askActivity(
  aws: Aws,
  store: Store,
  prefix: string,
  instances: InventoryInstance[],
): Promise<Map<string, Activity>> {
  const answers = new Map<string, Activity>();
  await mapConcurrent(instances, CONCURRENCY, async ({ id, tags }) => {
    const keys = new StoreKeys(prefix, readTags(tags).project ?? '');
    const remote = new Remote({
      aws,
      store,
      keys,
      instance: id,
      assertInstanceExists: (instance) => assertRunning(aws, instance),
    });
    const options = {
      comment: 'nx-ec2: clean',
      executionTimeout: 60,
      signal: AbortSignal.timeout(ACTIVITY_TIMEOUT_MS),
    };
    try {
      const { runs, syncing } = await remote.send<ActivityReply>({ op: 'activity', watchdog: true }, options);
      const reason = runs.length ? `${runs.join(', ')} is active on it` : syncing ? 'files are being synced' : '';
      answers.set(id, { says: reason ? 'busy' : 'idle', reason });
    } catch (error) {
      const [why] = (error as Error).message.split('\n');
      answers.set(id, { says: null, reason: `its activity is unknown: ${why.replace(/\.$/, '')}` });
    }
  });
  return answers;
}
