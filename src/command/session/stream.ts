import { randomUUID } from 'node:crypto';
import type { Aws } from '../../aws/clients';
import { awsProblem } from '../../aws/reason';
import { Problem } from '../../report/problem';
import { sleep } from '../../system/sleep';
import { Channel } from './channel';
import { connectStream, type StreamAddress } from './connection';
import { PayloadType } from './frame';
import { answerHandshake } from './handshake';
import { resumeSession, startSession, terminateSession, type SessionRequest } from './service';

export interface SessionEnd {
  /** Null where the session ended without one: idle, terminated, the instance gone, or a document that tells none. */
  exitCode: number | null;
  /** What the service said of it, or what we know. */
  why: string;
  /**
   * How often the connection was cut. After a cut the agent stops reading the program's output, and the program gets a
   * broken pipe: the end of the stream may then not be the end of the program.
   */
  cuts: number;
}

export interface SessionStream {
  /** Rejects with a Problem where the stream is lost for good. */
  ended: Promise<SessionEnd>;
  /** Input, each byte once and in order, over cuts as well. Without a terminal only Ctrl+C and Ctrl+\ mean anything. */
  write(data: Buffer, onSent?: () => void): void;
  /** Stops and restarts the output: the agent keeps what does not fit into the channel's limits. */
  hold(held: boolean): void;
  resize(columns: number, rows: number): void;
  /** Ends the session and what runs in it. */
  close(): Promise<void>;
}

export interface StreamOptions extends SessionRequest {
  /** In order, each byte once. */
  onOutput(data: Buffer): void;
  onError(data: Buffer): void;
  /** The version of the agent, before anything else; undefined where it says none that is one. */
  onAgent?(version: string | undefined): void;
  /** A number that the agent sends instead of output: in a port session, whether a connection could be made or is closed. */
  onFlag?(flag: number): void;
  /** Ends the session; `ended` rejects with its reason. */
  signal?: AbortSignal;
}

/** The shortest idle timeout that can be set is a minute, and only a client's input puts it off, ms. */
const KEEP_ALIVE_MS = 20_000;
/** No connection for so long, ms, and the stream is lost; the first must be there sooner. */
const CONNECTION_TIMEOUT_MS = 120_000;
const FIRST_OUTPUT_TIMEOUT_MS = 20_000;
/** From the start of a session until the agent has opened its end, ms, and how many sessions are tried. */
const BEGIN_TIMEOUT_MS = 30_000;
const MAX_ATTEMPTS = 2;
const FIRST_RETRY_MS = 100;
const MAX_RETRY_MS = 5_000;
/** A session without a start message has started when it is connected. */
const SHELL_DOCUMENT = 'SSM-SessionManagerRunShell';

/**
 * Starts a session of Session Manager and opens its stream. A cut is waited out: the session is resumed, and what was
 * not acknowledged comes again.
 * @param within ms until the agent must have opened its end; then another session is started, once.
 * @throws Problem SESSION_DENIED, SESSION_UNAVAILABLE (the instance or the stream can't be reached), SESSION_ENCRYPTED,
 *   SESSION_START.
 */
export async function openStream(
  aws: Aws,
  instance: string,
  options: StreamOptions,
  within = BEGIN_TIMEOUT_MS,
): Promise<SessionStream> {
  for (let attempt = 1; ; attempt++) {
    const { session, address } = await startSession(aws, instance, options, options.signal);
    const stream = new Stream(aws, instance, session, options);
    stream.run(address);
    // What fails before it has begun is told by this call alone.
    stream.ended.catch(() => undefined);
    if (await beginsWithin(stream, within)) return stream;
    // The service took the session, and the agent never opened its end of the stream.
    await stream.close().catch(() => undefined);
    if (attempt === MAX_ATTEMPTS) throw notBegun(instance, within);
  }
}

/** Rejects as the stream does where it fails before it has begun. */
async function beginsWithin(stream: Stream, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => (timer = setTimeout(() => resolve(false), ms)));
  try {
    return await Promise.race([stream.begun.then(() => true), stream.ended.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

function notBegun(instance: string, within: number): Problem {
  return new Problem(
    'SESSION_UNAVAILABLE',
    `The SSM agent on ${instance} did not join a session within ${within / 1000} s, in ${MAX_ATTEMPTS} attempts.`,
    {
      next: 'The agent may hang, or have no route to ssmmessages.<region>.amazonaws.com. Restart it (sudo systemctl restart amazon-ssm-agent), or check it: nx run <project>:remote-doctor',
    },
  );
}

class Stream implements SessionStream {
  readonly ended: Promise<SessionEnd>;
  readonly begun: Promise<void>;
  private settle!: { resolve: (end: SessionEnd) => void; reject: (error: unknown) => void };
  private begin!: () => void;
  private over = false;
  private exitCode: number | null = null;
  private cuts = 0;
  private handshakeDone = false;
  private size = { cols: 80, rows: 24 };
  private readonly client = randomUUID();
  private readonly channel: Channel;
  private connection?: { send(data: Buffer): void; close(): void };
  private readonly keepAlive: NodeJS.Timeout;
  private readonly aborted = () => {
    void this.terminate().catch(() => undefined);
    this.finish(() => this.settle.reject(this.options.signal!.reason));
  };

  constructor(
    private readonly aws: Aws,
    private readonly instance: string,
    private readonly session: string,
    private readonly options: StreamOptions,
  ) {
    this.ended = new Promise((resolve, reject) => (this.settle = { resolve, reject }));
    this.begun = new Promise((resolve) => (this.begin = resolve));
    this.channel = new Channel({
      onPayload: (type, payload) => {
        try {
          this.take(type, payload);
        } catch (error) {
          // Whoever takes the output could not.
          void this.terminate().catch(() => undefined);
          this.fail(error);
        }
      },
      onClosed: (why) => this.end(why || 'the session ended'),
      onGarbage: (error) => this.garbage(error),
    });
    this.keepAlive = setInterval(() => this.sendSize(), KEEP_ALIVE_MS);
    options.signal?.addEventListener('abort', this.aborted, { once: true });
    if (options.signal?.aborted) this.aborted();
  }

  /** Keeps the stream connected until the session is over. */
  run(first: StreamAddress): void {
    this.connected(first).catch((error: unknown) => this.fail(error));
  }

  write(data: Buffer, onSent?: () => void): void {
    this.channel.send(PayloadType.Output, data, onSent);
  }

  hold(held: boolean): void {
    this.channel.hold(held);
  }

  resize(cols: number, rows: number): void {
    this.size = { cols, rows };
    this.sendSize();
  }

  async close(): Promise<void> {
    if (this.over) return;
    await this.terminate();
    this.end('it was terminated');
  }

  private async connected(first: StreamAddress): Promise<void> {
    let address: StreamAddress | undefined = first;
    let since = performance.now();
    let patience = FIRST_OUTPUT_TIMEOUT_MS;
    let wait = FIRST_RETRY_MS;
    while (!this.over) {
      try {
        address ??= await resumeSession(this.aws, this.instance, this.session);
        if (this.over) return;
        if (!address) return this.end('the session ended while it was not connected');
        const { lost } = await this.connect(address);
        if (this.options.document === SHELL_DOCUMENT) this.begin();
        patience = CONNECTION_TIMEOUT_MS;
        const opened = performance.now();
        const { why, heard } = await lost;
        if (this.over) return;
        this.cuts++;
        // One that is opened and closed at once, again and again, is no connection.
        if (heard || performance.now() - opened > MAX_RETRY_MS) {
          since = performance.now();
          wait = FIRST_RETRY_MS;
        }
        throw new Error(why);
      } catch (error) {
        if (this.over) return;
        if (error instanceof Problem) throw error;
        if (performance.now() - since > patience) throw lostProblem(this.instance, patience, error);
      }
      address = undefined;
      await sleep(wait, this.options.signal).catch(() => undefined);
      wait = Math.min(MAX_RETRY_MS, wait * 2);
    }
  }

  /** @returns once it is connected; `lost` resolves when it is no more, with why, and whether a message had come. */
  private async connect(address: StreamAddress): Promise<{ lost: Promise<{ why: string; heard: boolean }> }> {
    let lose!: (lost: { why: string; heard: boolean }) => void;
    const lost = new Promise<{ why: string; heard: boolean }>((resolve) => (lose = resolve));
    let heard = false;
    const connection = await connectStream(this.aws, address, this.client, {
      message: (data) => {
        heard = true;
        this.channel.receive(data);
      },
      garbage: (error) => this.garbage(error),
      close: (why) => {
        this.channel.detach();
        lose({ why, heard });
      },
    });
    if (this.over) connection.close();
    this.connection = connection;
    this.channel.attach((data) => connection.send(data));
    return { lost };
  }

  private take(type: number, payload: Buffer): void {
    if (this.over) return;
    if (type === PayloadType.Output || type === PayloadType.Error) {
      this.begin();
      (type === PayloadType.Output ? this.options.onOutput : this.options.onError)(payload);
    } else if (type === PayloadType.ExitCode) {
      const code = /^EXIT_CODE: (-?\d+)$/.exec(payload.toString());
      if (code) this.exitCode = Number(code[1]);
    } else if (type === PayloadType.HandshakeRequest) {
      // An agent sends one. Each answer is kept until it is acknowledged, so answering every request could fill the memory.
      if (this.handshakeDone) throw new Problem('SESSION_PROTOCOL', `${this.instance} sent a second handshake.`);
      this.handshakeDone = true;
      const { response, refusal, agent } = answerHandshake(payload, this.instance);
      this.options.onAgent?.(agent);
      this.channel.send(PayloadType.HandshakeResponse, response);
      if (refusal) {
        void this.terminate().catch(() => undefined);
        this.fail(refusal);
      }
    } else if (type === PayloadType.HandshakeComplete) {
      this.begin();
    } else if (type === PayloadType.Flag && payload.length === 4) {
      this.options.onFlag?.(payload.readUInt32BE(0));
    }
  }

  private garbage(error: Error): void {
    void this.terminate().catch(() => undefined);
    this.fail(
      new Problem(
        'SESSION_PROTOCOL',
        `The stream from ${this.instance} is not a Session Manager stream: ${error.message}.`,
      ),
    );
  }

  private sendSize(): void {
    this.channel.send(PayloadType.Size, Buffer.from(JSON.stringify(this.size)));
  }

  private terminate(): Promise<void> {
    return terminateSession(this.aws, this.instance, this.session);
  }

  private end(why: string): void {
    this.finish(() => this.settle.resolve({ exitCode: this.exitCode, why, cuts: this.cuts }));
  }

  private fail(error: unknown): void {
    this.finish(() => this.settle.reject(error));
  }

  private finish(settle: () => void): void {
    if (this.over) return;
    this.over = true;
    clearInterval(this.keepAlive);
    this.options.signal?.removeEventListener('abort', this.aborted);
    // What was sent last, acknowledgements and a refusal, still goes out.
    this.channel.close();
    this.connection?.close();
    settle();
  }
}

function lostProblem(instance: string, waited: number, error: unknown): Problem {
  const first = waited === FIRST_OUTPUT_TIMEOUT_MS;
  return awsProblem(
    first ? 'SESSION_UNAVAILABLE' : 'SESSION_LOST',
    first
      ? `The stream of a session on ${instance} could not be opened within ${waited / 1000} s.`
      : `The stream of a session on ${instance} was cut and did not come back within ${waited / 1000} s.`,
    error,
    'A WebSocket to ssmmessages.<region>.amazonaws.com must get through: check the network and the proxy (HTTPS_PROXY).',
  );
}
