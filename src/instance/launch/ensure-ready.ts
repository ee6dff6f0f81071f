import { ensureInstances, type EnsuredInstance } from './ensure-instance';
import { isAlive, describeInstance } from '../describe/describe-instances';
import { waitReady } from '../ready/wait-ready';
import { mapConcurrent } from '../../system/side-by-side';
import { withoutLines } from '../../report/without-lines';
import type { EnsureOptions } from './options';

/** Instances that are asked about at once: EC2 and Systems Manager limit requests, and the others boot meanwhile. */
const CONCURRENCY = 16;
/** Spot instances that one command launches in the place of those that AWS takes away before they are ready. */
const MAX_RECLAIMED = 3;

/**
 * Finds or launches the instances of a launch spec, and waits until all can be used. If one that was found shuts down
 * during the wait, by one of its shutdown rules, a replacement is launched; also, up to 3 times, for a spot instance that
 * AWS takes away during the wait.
 * @param wait ms, for each. @param onUp as soon as EC2 has them.
 * @throws Problem as `waitReady` does, of the first that can't be used.
 */
export async function ensureReady(
  options: EnsureOptions,
  wait: number,
  onUp: (instances: EnsuredInstance[]) => void = () => undefined,
): Promise<EnsuredInstance[]> {
  const { printer, signal } = options;
  for (let reclaimed = 0; ;) {
    const instances = await ensureInstances(options);
    onUp(instances);
    const failed = await waitForAll(options, instances, wait);
    if (!failed) return instances;
    signal?.throwIfAborted();
    const { instance, error } = failed;
    const how = await howEnded(options, instance.id);
    // What was launched or started just now, and ends, would do so again, unless AWS took it away.
    const isReplaced = how === 'reclaimed' ? ++reclaimed <= MAX_RECLAIMED : how === 'ended' && instance.how === 'found';
    if (!isReplaced) throw error;
    const what = how === 'reclaimed' ? 'was taken away by AWS, a spot instance,' : 'ended';
    printer.line(`${instance.id} ${what} while it was starting; launching a replacement.`);
  }
}

/** @returns the first that can't be used, if there is one: the others are not waited for any longer. */
async function waitForAll(
  { aws, printer, signal }: EnsureOptions,
  instances: EnsuredInstance[],
  wait: number,
): Promise<{ instance: EnsuredInstance; error: unknown } | null> {
  const several = instances.length > 1;
  const end = new AbortController();
  const signals = signal ? [signal, end.signal] : [end.signal];
  let ready = 0;
  let failed: { instance: EnsuredInstance; error: unknown } | null = null;
  await mapConcurrent(instances, CONCURRENCY, async (instance) => {
    if (failed) return;
    try {
      // A signal of its own: Node warns of one that many listen to.
      const own = AbortSignal.any(signals);
      await waitReady(aws, instance.id, wait, several ? withoutLines(printer) : printer, own);
      if (several) printer.line(`${instance.id} is ready (${++ready} of ${instances.length} instances).`);
    } catch (error) {
      failed ??= { instance, error };
      end.abort();
    }
  });
  return failed;
}

/** Whether an instance that can't be used has ended, and whether because AWS took back its spot capacity; null: it has not. */
async function howEnded(
  { aws, signal }: Pick<EnsureOptions, 'aws' | 'signal'>,
  id: string,
): Promise<'ended' | 'reclaimed' | null> {
  const now = await describeInstance(aws, id, signal);
  if (now && isAlive(now) && !now.state.startsWith('stop')) return null;
  return now?.reason?.startsWith('Server.SpotInstance') ? 'reclaimed' : 'ended';
}
