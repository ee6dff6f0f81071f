import { bringUp, type BringUp, type BroughtUp } from './bring-up';
import { isLiving, lookAt } from './living';
import { waitReady } from './ready';

/**
 * Brings up the instance that is described, and waits until it can be used. Where one that was there comes to its end
 * meanwhile, as one of its guards may have begun to end it, another takes its place.
 * @param wait ms, for each. @param onUp as soon as EC2 has one.
 * @throws Problem as `waitReady` does.
 */
export async function bringUpReady(
  wish: BringUp,
  wait: number,
  onUp: (instance: BroughtUp) => void = () => undefined,
): Promise<BroughtUp> {
  const { aws, reporter, signal } = wish;
  for (;;) {
    const instance = await bringUp(wish);
    const { id, how } = instance;
    onUp(instance);
    try {
      await waitReady(aws, id, wait, reporter, signal);
      return instance;
    } catch (error) {
      signal?.throwIfAborted();
      // What was launched or started just now, and ends, would do so again.
      if (how !== 'found' || !(await hasEnded(wish, id))) throw error;
      reporter.line(`${id} has come to its end meanwhile: another takes its place.`);
    }
  }
}

async function hasEnded({ aws, signal }: Pick<BringUp, 'aws' | 'signal'>, id: string): Promise<boolean> {
  const now = await lookAt(aws, id, signal);
  return !now || !isLiving(now) || now.state.startsWith('stop');
}
