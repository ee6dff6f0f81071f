import type { Instances, LocalInstance } from '../../instance/instances';
import { Timers } from '../../instance/timers';
import type { SpotRequests } from './spot-requests';
import { initiated } from '../instances/reason';

const BY_SPOT = 'Server.SpotInstanceTermination';
const NOTICE_MS = 2 * 60_000;

/** Takes spot instances back: first the notice, which the instance reads from its metadata, then its end. */
export class Interruptions {
  private readonly timers = new Timers();

  constructor(
    private readonly instances: Instances,
    private readonly spot: SpotRequests,
  ) {
    instances.watchers.push(({ id }, event) => {
      if (event === 'terminated') this.timers.clear(id);
    });
    for (const instance of instances.all())
      if (instance.state !== 'terminated' && instance.interruption !== undefined) this.await(instance);
  }

  /** @param noticeMs from the notice to the end; absent: AWS's two minutes. */
  interrupt(id: string, { noticeMs = NOTICE_MS }: { noticeMs?: number } = {}): void {
    const instance = this.spotInstance(id);
    instance.interruption = Date.now() + noticeMs;
    this.instances.save();
    this.spot.mark(instance);
    this.await(instance);
  }

  /** Tells a spot instance that it is at risk. */
  recommendRebalance(id: string): void {
    this.spotInstance(id).rebalance = Date.now();
    this.instances.save();
  }

  close(): void {
    this.timers.close();
  }

  private await(instance: LocalInstance): void {
    this.timers.at(instance.id, instance.interruption!, () => {
      if (instance.state === 'terminated') return;
      this.instances.change(instance, 'terminated', {
        code: BY_SPOT,
        message: `${BY_SPOT}: Spot instance termination`,
        transition: initiated('Service'),
      });
    });
  }

  private spotInstance(id: string): LocalInstance {
    const instance = this.instances.get(id);
    if (instance?.state !== 'running' || instance.spotRequest === undefined)
      throw new Error(`${id} is no spot instance that runs: it can't be interrupted.`);
    return instance;
  }
}
