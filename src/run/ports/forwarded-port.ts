import type { Duplex } from 'node:stream';
import { openPort, type PortSession } from '../../command/ports/port-session';
import type { RunContext } from '../../context/types';
import { Problem } from '../../report/problem';
import { steadyNow } from '../../system/moment';
import { sleep } from '../../system/sleep';
import { LocalPort, MAX_CONNECTIONS, MAX_SINGLE_CONNECTIONS } from './local-port';
import type { PortPair } from './port-option';

/** Between two attempts to open a session, ms. */
const MIN_WAIT_MS = 1_000;
const MAX_WAIT_MS = 30_000;
/** What does not pass by itself. */
const FINAL = /^(SESSION_(DENIED|ENCRYPTED|PROTOCOL)|INSTANCE_GONE|RECORD_.*)$/;

export interface ForwardOptions {
  signal: AbortSignal;
  /** A session broke: looks whether the instance is there. */
  check(): Promise<void>;
  onOpen(): void;
  /** Nothing was open yet: what can't be opened is an error. */
  first: boolean;
  /** The port of the instance, where it is another one on each. */
  remote?: number;
}

/** One port of this machine, and the sessions that carry its connections. */
export class ForwardedPort {
  private port!: LocalPort;
  private instance = '';
  /** Opens the other end of a connection; undefined while there is none. */
  private connect?: () => Duplex | Promise<Duplex>;
  private readonly sessions = new Set<PortSession>();
  private saidRefused = false;

  private constructor(
    private readonly context: RunContext,
    private remote: number,
  ) {}

  /** @throws Problem PORT_IN_USE, PORT_UNAVAILABLE */
  static async open(context: RunContext, pair: PortPair): Promise<ForwardedPort> {
    const forwarded = new ForwardedPort(context, pair.remote);
    forwarded.port = await LocalPort.open(pair, {
      connect: () => forwarded.connection(),
      onLoop: () => forwarded.refused(),
    });
    if (pair.local === undefined && forwarded.local !== pair.remote)
      context.printer.line(`The port ${pair.remote} of this machine is in use: ${forwarded.local} takes its place.`);
    return forwarded;
  }

  get local(): number {
    return this.port.port;
  }

  /** Keeps a session to the instance open until the signal comes. @throws Problem for what does not pass by itself. */
  async forward(instance: string, { signal, check, onOpen, first, remote }: ForwardOptions): Promise<void> {
    this.instance = instance;
    if (remote !== undefined) this.remote = remote;
    let opened = !first;
    let broken = false;
    let wait = MIN_WAIT_MS;
    while (!signal.aborted) {
      const since = steadyNow();
      try {
        const session = await this.open();
        this.announce(broken);
        if (!opened) onOpen();
        opened = true;
        broken = false;
        await this.serve(session, signal);
      } catch (error) {
        if (signal.aborted) break;
        if (!opened || (error instanceof Problem && FINAL.test(error.code))) throw error;
        if (!broken) this.sayBroken(error as Error);
        broken = true;
      }
      await this.drop();
      await check();
      if (steadyNow() - since > MAX_WAIT_MS) wait = MIN_WAIT_MS;
      await sleep(wait, signal).catch(() => undefined);
      wait = Math.min(MAX_WAIT_MS, wait * 2);
    }
    await this.drop();
  }

  async close(): Promise<void> {
    this.port.close();
    await this.drop();
  }

  /** Carries connections until it can't any more: rejects with the reason. */
  private async serve(session: PortSession, signal: AbortSignal): Promise<never> {
    if (session.multiplexed) {
      this.connect = () => session.connect();
      this.port.maxConnections = MAX_CONNECTIONS;
      throw new Error(await beforeAbort(session.ended, signal));
    }
    this.context.printer.line(
      `The SSM agent of ${this.instance} is too old to carry several connections in one session: each takes a session of its own. Update the agent.`,
    );
    await session.close();
    this.connect = async () => (await this.open()).connect();
    this.port.maxConnections = MAX_SINGLE_CONNECTIONS;
    return beforeAbort(new Promise<never>(() => undefined), signal);
  }

  /** Closes what is open to the instance. */
  private async drop(): Promise<void> {
    this.connect = undefined;
    this.port.disconnect();
    await Promise.allSettled([...this.sessions].map((session) => session.close()));
  }

  private announce(again: boolean): void {
    this.context.printer.line(
      `http://127.0.0.1:${this.local} -> ${this.instance} port ${this.remote}${again ? ', again' : ''}`,
    );
  }

  private sayBroken({ message }: Error): void {
    const [why] = message.split('\n');
    this.context.printer.line(
      `The session for port ${this.remote} of ${this.instance} ended (${why.replace(/\.$/, '')}); opening another one.`,
    );
  }

  private async open(): Promise<PortSession> {
    const { aws, project } = this.context;
    const session = await openPort(aws, this.instance, {
      port: this.remote,
      reason: `nx-ec2: port ${this.remote} for ${project}`,
      onRefused: () => this.refused(),
    });
    this.sessions.add(session);
    const forget = () => this.sessions.delete(session);
    session.ended.then(forget, forget);
    return session;
  }

  private async connection(): Promise<Duplex | undefined> {
    const connection = await this.connect?.();
    connection?.once('data', () => (this.saidRefused = false));
    return connection;
  }

  private refused(): void {
    if (this.saidRefused) return;
    this.saidRefused = true;
    this.context.printer.line(
      `Nothing listens on the port ${this.remote} of ${this.instance}. Connections work as soon as a program listens there.`,
    );
  }
}

/** The same, unless the signal comes before. */
async function beforeAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let abort!: () => void;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', abort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
