import type { Instances } from './instances';
import type { LocalInstance } from './record';
import { Timers } from './timers';

const BY_INSTANCE = 'Client.InstanceInitiatedShutdown';

/** What `shutdown` and `reboot` in an instance do to it. */
export class Power {
  private readonly timers = new Timers();

  constructor(private readonly instances: Instances) {
    instances.watchers.push(({ id }) => this.timers.clear(id));
  }

  /** @returns the HTTP status of the answer. */
  ask(instance: LocalInstance, action: string, seconds: number): number {
    if (action === 'cancel') {
      this.timers.clear(instance.id);
      return 200;
    }
    if ((action !== 'poweroff' && action !== 'reboot') || !Number.isFinite(seconds)) return 400;
    // After the answer: who asked ends with the instance.
    this.timers.at(instance.id, Date.now() + Math.max(seconds * 1000, 20), () => this.act(instance, action));
    return 200;
  }

  close(): void {
    this.timers.close();
  }

  private act(instance: LocalInstance, action: 'poweroff' | 'reboot'): void {
    if (instance.state !== 'running') return;
    if (action === 'reboot') return this.instances.reboot(instance);
    // A spot instance of a one-time request can't be stopped.
    const ends = instance.shutdownBehavior === 'terminate' || instance.spotRequest !== undefined;
    this.instances.change(instance, ends ? 'terminated' : 'stopped', {
      code: BY_INSTANCE,
      message: `${BY_INSTANCE}: Instance initiated shutdown`,
      transition: '',
    });
  }
}
