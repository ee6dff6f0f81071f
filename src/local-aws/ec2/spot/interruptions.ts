import type { Instances, LocalInstance } from '../../instance/instances';
import { Timers } from '../../instance/timers';
import type { SpotRequests } from './spot-requests';
import { initiated } from '../instances/reason';

const BY_SPOT = 'Server.SpotInstanceTermination';
const NOTICE_MS = 2 * 60_000;

/** A spot instance that is to be interrupted some time after its launch. */
export interface PlannedInterruption {
  /** Its place among the instances of its launch, from 0 (`AmiLaunchIndex`); absent: any. */
  index?: number;
  type?: string;
  /** From its launch to the notice, ms; absent: 0. */
  after?: number;
  /** From the notice to the end, ms; absent: AWS's two minutes. */
  notice?: number;
  /** How many instances; absent: 1. */
  times?: number;
}

/** Takes spot instances back: first the notice, which the instance reads from its metadata, then its end. */
export class Interruptions {
  private readonly timers = new Timers();
  private readonly planned: { of: PlannedInterruption; left: number }[] = [];

  constructor(
    private readonly instances: Instances,
    private readonly spot: SpotRequests,
  ) {
    instances.watchers.push((instance, event) => {
      if (event === 'terminated') this.timers.clear(instance.id);
      if (event === 'launched') this.plan(instance);
    });
    for (const instance of instances.all())
      if (instance.state !== 'terminated' && instance.interruption !== undefined) this.await(instance);
  }

  /** Of instances that are launched from now on. */
  add(of: PlannedInterruption): void {
    this.planned.push({ of, left: of.times ?? 1 });
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

  private plan(instance: LocalInstance): void {
    const { id, index, type } = instance;
    const found = this.planned.find(
      ({ of, left }) => left > 0 && (of.index ?? index) === index && (of.type ?? type) === type,
    );
    if (!found) return;
    // Its market is known only after this event.
    this.timers.at(id, Date.now() + Math.max(1, found.of.after ?? 0), () => {
      if (instance.state !== 'running' || instance.spotRequest === undefined || !found.left) return;
      found.left--;
      this.interrupt(id, { noticeMs: found.of.notice });
    });
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
