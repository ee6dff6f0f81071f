import { ForwardedPort } from './forwarded-port';
import type { Place } from './place';
import type { PortPair } from './port-option';
import type { RunningServer } from './server';
import { Problem } from '../../report/problem';
import { sleep } from '../../system/sleep';

/** Between two looks for where the ports are, and while they are nowhere, ms. */
const CHECK_MS = 10_000;
const WAITING_MS = 2_000;

/**
 * Carries connections to ports of this machine to those of an instance, until a signal comes or the instance of a run
 * that has ended is gone.
 * @param onOpen called when all are open for the first time.
 * @param begin starts what listens on an instance, each time before the one port is forwarded to it.
 * @returns why it ended.
 * @throws Problem PORT_IN_USE, PORT_UNAVAILABLE; what openPort throws at first, and later what does not pass by itself;
 *   INSTANCE_GONE of an instance that is no run's.
 */
export async function forwardPorts(
  place: Place,
  pairs: PortPair[],
  signal: AbortSignal,
  onOpen: (ports: number[]) => void = () => undefined,
  begin?: Begin,
): Promise<string> {
  const ports: ForwardedPort[] = [];
  try {
    for (const pair of pairs) ports.push(await ForwardedPort.open(place.context, pair));
    return await new Forwarding(place, ports, signal, { onOpen, begin }).run();
  } finally {
    await Promise.all(ports.map((port) => port.close()));
  }
}

export type Begin = (instance: string, signal: AbortSignal) => Promise<RunningServer>;

class Forwarding {
  private opened = false;
  private waiting = false;

  constructor(
    private readonly place: Place,
    private readonly ports: ForwardedPort[],
    private readonly signal: AbortSignal,
    private readonly on: { onOpen: (ports: number[]) => void; begin?: Begin },
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
      this.on.onOpen(this.ports.map(({ local }) => local));
    };
    let server: RunningServer | undefined;
    const work: Promise<void>[] = [];
    try {
      server = await this.begin(instance, signal);
      if (!server && this.on.begin) return;
      // A server whose session was lost is started again.
      if (server) work.push(server.ended.then(() => moved.abort()));
      const options = { signal, check, onOpen, first: !this.opened, remote: server?.port };
      work.push(...this.ports.map((port) => port.forward(instance, options)), this.watch(instance, signal, moved));
      await Promise.all(work);
    } catch (error) {
      if (!moved.signal.aborted || this.signal.aborted) throw error;
    } finally {
      moved.abort();
      await server?.close().catch(() => undefined);
      await Promise.allSettled(work);
    }
  }

  /** What can't be started for now is tried again later, unless it has never been there. */
  private async begin(instance: string, signal: AbortSignal): Promise<RunningServer | undefined> {
    for (;;) {
      try {
        return await this.on.begin?.(instance, signal);
      } catch (error) {
        const passes = error instanceof Problem && /^SESSION_(UNAVAILABLE|START|LOST)$/.test(error.code);
        if (!this.opened || !passes || signal.aborted) throw error;
        this.place.context.printer.line(error.what);
        await sleep(WAITING_MS, signal);
        const where = await this.look(true, instance);
        if (!('instance' in where) || where.instance !== instance) return;
      }
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
