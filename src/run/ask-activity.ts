import type { Aws } from '../aws/clients';
import type { ActivityReply } from '../command/plan';
import { Remote } from '../command/remote';
import { refuseGone } from '../instance/find';
import type { MadeInstance } from '../instance/inventory';
import { readTags } from '../instance/tags';
import { sideBySide } from '../prune/side-by-side';
import { StoreKeys } from '../store/keys';
import type { Store } from '../store/store';

const AT_ONCE = 8;
/** An instance that has not answered by then is not idle, ms. */
const TIMEOUT = 60_000;

/** What an instance says of itself: null where nothing runs there, else what does, or why it does not say. */
export type Activity = string | null;

/** Asks instances whether anything runs there. @param prefix of the store in its bucket. */
export async function askActivity(
  aws: Aws,
  store: Store,
  prefix: string,
  instances: MadeInstance[],
): Promise<Map<string, Activity>> {
  const answers = new Map<string, Activity>();
  await sideBySide(instances, AT_ONCE, async ({ id, tags }) => {
    const keys = new StoreKeys(prefix, readTags(tags).project ?? '');
    const remote = new Remote(aws, store, keys, id, {}, (instance) => refuseGone(aws, instance));
    const options = { comment: 'nx-ec2: clean', executionTimeout: 60, signal: AbortSignal.timeout(TIMEOUT) };
    try {
      const { runs, syncing } = await remote.send<ActivityReply>({ op: 'activity', keeper: true }, options);
      answers.set(id, runs.length ? `${runs.join(', ')} runs there` : syncing ? 'files are being synced' : null);
    } catch (error) {
      answers.set(id, `it does not say what runs there: ${(error as Error).message.split('\n')[0].replace(/\.$/, '')}`);
    }
  });
  return answers;
}
