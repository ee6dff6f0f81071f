import { ForwardedPort } from './forwarded-port';
import type { Place } from './place';
import type { PortPair } from './port-option';
import { Problem } from '../../report/problem';
import { sleep } from '../../system/sleep';

/** Between two looks for where the ports are, and while they are nowhere, ms. */
const CHECK_MS = 10_000;
const WAITING_MS = 2_000;

/**
 * Carries connections to ports of this machine to those of an instance, until a signal comes or the instance of a run
 * that has ended is gone.
 * @param onOpen called when all are open for the first time.
 * @returns why it ended.
 * @throws Problem PORT_IN_USE, PORT_UNAVAILABLE; what openPort throws at first, and later what does not pass by itself;
 *   INSTANCE_GONE of an instance that is no run's.
 */
export async function forwardPorts(
  place: Place,
  pairs: PortPair[],
  signal: AbortSignal,
  onOpen: (ports: number[]) => void = () => undefined,
): Promise<string> {
  const ports: ForwardedPort[] = [];
  try {
    for (const pair of pairs) ports.push(await ForwardedPort.open(place.context, pair));
    return await new Forwarding(place, ports, signal, onOpen).run();
  } finally {
    await Promise.all(ports.map((port) => port.close()));
  }
}

class Forwarding {
  private opened = false;
  private waiting = false;

  constructor(
    private readonly place: Place,
    private readonly ports: ForwardedPort[],
    private readonly signal: AbortSignal,
    private readonly onOpen: (ports: number[]) => void,
  ) {}

  async run(): Promise<string> {
    let doubted = false;
    for (;;) {
      const where = await this.look(doubted);
      if ('over' in where) return where.over;
      if ('waiting' in where) {
        if (!this.waiting) this.place.context.printer.line(where.waiting);
        this.waiting = true;
        await sleep(WAITING_MS, this.signal);
      } else {
        this.waiting = false;
        await this.place.context.at(where.instance).allowed();
        await this.forward(where.instance);
      }
      doubted = this.waiting;
    }
  }

  /** AWS may be out of reach for a while: then the ports are where they were. */
  private async look(doubted: boolean, instance?: string) {
    try {
      return await this.place.look(doubted, this.signal);
    } catch (error) {
      const isFinal = error instanceof Problem && /^(INSTANCE_GONE|RECORD_)/.test(error.code);
      if (isFinal || !this.opened || instance === undefined || this.signal.aborted) throw error;
      this.place.context.printer.detail(`Could not check ${instance}: ${(error as Error).message.split('\n')[0]}`);
      return { instance };
    }
  }

  /** Forwards all ports to one instance, until they are elsewhere. */
  private async forward(instance: string): Promise<void> {
    const moved = new AbortController();
    const signal = AbortSignal.any([this.signal, moved.signal]);
    const check = async () => {
      const where = await this.look(true, instance);
      if (!('instance' in where) || where.instance !== instance) moved.abort();
    };
    let open = 0;
    const onOpen = () => {
      if (++open < this.ports.length || this.opened) return;
      this.opened = true;
      this.onOpen(this.ports.map(({ local }) => local));
    };
    const work = this.ports.map((port) => port.forward(instance, { signal, check, onOpen, first: !this.opened }));
    work.push(this.watch(instance, signal, moved));
    try {
      await Promise.all(work);
    } catch (error) {
      if (!moved.signal.aborted || this.signal.aborted) throw error;
    } finally {
      moved.abort();
      await Promise.allSettled(work);
    }
  }

  private async watch(instance: string, signal: AbortSignal, moved: AbortController): Promise<void> {
    for (;;) {
      await sleep(CHECK_MS, signal);
      const where = await this.look(false, instance);
      if ('instance' in where && where.instance === instance) continue;
      moved.abort();
      return;
    }
  }
}
