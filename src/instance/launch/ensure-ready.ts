import { ensureInstance, type EnsuredInstance } from './ensure-instance';
import { isAlive, describeInstance } from '../describe/describe-instances';
import { waitReady } from '../ready/wait-ready';
import type { EnsureOptions } from './options';

/**
 * Finds or launches the instance of a launch spec, and waits until it can be used. If an instance that was found shuts
 * down during the wait, by one of its shutdown rules, a replacement is launched.
 * @param wait ms, for each. @param onUp as soon as EC2 has one.
 * @throws Problem as `waitReady` does.
 */
export async function ensureReady(
  options: EnsureOptions,
  wait: number,
  onUp: (instance: EnsuredInstance) => void = () => undefined,
): Promise<EnsuredInstance> {
  const { aws, printer, signal } = options;
  for (;;) {
    const instance = await ensureInstance(options);
    const { id, how } = instance;
    onUp(instance);
    try {
      await waitReady(aws, id, wait, printer, signal);
      return instance;
    } catch (error) {
      signal?.throwIfAborted();
      // What was launched or started just now, and ends, would do so again.
      if (how !== 'found' || !(await hasEnded(options, id))) throw error;
      printer.line(`${id} ended while it was starting; launching a replacement.`);
    }
  }
}

async function hasEnded({ aws, signal }: Pick<EnsureOptions, 'aws' | 'signal'>, id: string): Promise<boolean> {
  const now = await describeInstance(aws, id, signal);
  return !now || !isAlive(now) || now.state.startsWith('stop');
}
