import { AgentChannel } from './channel';
import type { SessionDocument } from './document';
import { CONNECT_ERROR, DISCONNECT, frameOf, PAYLOAD, TERMINATE } from './frame';
import { MuxPort } from './mux-port';
import { dial, SinglePort, type PortOutput, type PortSide } from './port';
import { Program, type ProgramOutput } from './program';
import { TextPieces } from './text-pieces';
import type { SessionUser } from './user';

/** Separate output needs a client of this version. */
const SEPARATE_SINCE = [1, 2, 312, 0];
/** Many connections in one session need a client, and an agent, of these versions. */
const MUX_CLIENT_SINCE = [1, 1, 70, 0];
const MUX_AGENT_SINCE = [3, 0, 196, 1];
/** bytes of the output of a port in a message. */
const PORT_PIECE_BYTES = 1024;

/** What a client asked for. */
export interface SessionRequest {
  id: string;
  instance: string;
  /** The ARN of the caller. */
  owner: string;
  documentName: string;
  reason: string;
  document: SessionDocument;
}

export interface SessionSettings {
  /** ms without input after which it ends. */
  idle: number;
  /** From the first client to what runs, ms. */
  pickUp: number;
  /** Asked for in the handshake; local AWS has no KMS, so a session that a client accepts so ends all the same. */
  kmsKeyId?: string;
  pauseEndsOutput: boolean;
  environment: NodeJS.ProcessEnv;
  user?: SessionUser;
  /** Of the instance: its ports are there. */
  address: string;
  agentVersion: string;
  /** The agent dropped the request: it never opens its end of the stream. */
  dropped: boolean;
  /** Whether the instance still runs. */
  there: () => boolean;
}

/** One session: its program, its data channel, and why it ended. */
export class LocalSession {
  readonly id: string;
  readonly instance: string;
  readonly owner: string;
  readonly documentName: string;
  readonly reason: string;
  readonly started = Date.now();
  ended?: number;
  /** The token that opens the stream next; each one opens it once. */
  token = '';
  private readonly document: SessionDocument;
  private readonly channel = new AgentChannel(
    (type, payload) => this.input(type, payload),
    // What comes before there is anything to give it to.
    () => !this.shaken || this.program !== undefined || (this.port?.ready ?? false),
  );
  private program?: Program;
  private port?: PortSide;
  private clientVersion = '0';
  private begun = false;
  private shaken: boolean;
  private shakingSince = 0;
  private idle?: NodeJS.Timeout;
  private delivery?: NodeJS.Timeout;
  private client?: { send: (frame: Buffer) => void; close: () => void };
  private readonly held: Buffer[] = [];
  private readonly texts = { stdout: new TextPieces(), stderr: new TextPieces() };

  constructor(
    request: SessionRequest,
    private readonly settings: SessionSettings,
    private readonly onEnd: () => void,
  ) {
    this.id = request.id;
    this.instance = request.instance;
    this.owner = request.owner;
    this.documentName = request.documentName;
    this.reason = request.reason;
    this.document = request.document;
    const { document } = request;
    this.shaken = !document.handshake && !settings.kmsKeyId;
    this.stayAwake();
  }

  /** A client opened the stream; one that was there before is gone. */
  attach(client: { send: (frame: Buffer) => void; close: () => void }, clientVersion: string): void {
    this.client?.close();
    this.client = client;
    if (this.settings.dropped) return;
    if (this.begun) {
      this.channel.attach(client.send);
      return;
    }
    this.begun = true;
    this.clientVersion = clientVersion;
    this.delivery = setTimeout(() => {
      if (this.client) this.channel.attach(this.client.send);
      if (this.document.separate && isOlder(clientVersion, SEPARATE_SINCE)) {
        this.channel.send(
          PAYLOAD.output,
          Buffer.from('Separate output streams need session-manager-plugin 1.2.312.0 or newer: please upgrade it.\n'),
        );
        void this.finish();
      } else if (this.shaken) this.run();
      else this.askForHandshake();
    }, this.settings.pickUp);
  }

  detach(client: { send: (frame: Buffer) => void }): void {
    if (this.client !== client) return;
    this.client = undefined;
    this.channel.detach();
  }

  receive(frame: Buffer): void {
    if (!this.ended) this.channel.receive(frame);
  }

  /** Ends it now. @param why what the client is told. */
  end(why = ''): void {
    if (this.ended) return;
    this.ended = Date.now();
    clearTimeout(this.idle);
    clearTimeout(this.delivery);
    this.channel.close();
    this.program?.kill();
    this.port?.kill();
    const closed = {
      MessageId: this.id,
      CreatedDate: String(Date.now()),
      DestinationId: this.instance,
      SessionId: this.id,
      MessageType: 'channel_closed',
      SchemaVersion: 1,
      Output: why,
    };
    this.client?.send(frameOf({ type: 'channel_closed', flags: 3, payload: Buffer.from(JSON.stringify(closed)) }));
    this.client?.close();
    this.onEnd();
  }

  private input(type: number, payload: Buffer): void {
    this.stayAwake();
    if (type === PAYLOAD.handshakeResponse) return this.handshakeAnswered(payload);
    if (!this.shaken) return;
    if (type === PAYLOAD.output) (this.port ?? this.program)?.write(payload);
    else if (type === PAYLOAD.size) {
      const size = parse(payload) as { cols?: unknown; rows?: unknown } | undefined;
      if (Number.isInteger(size?.cols) && Number.isInteger(size?.rows))
        this.program?.resize(Number(size!.cols), Number(size!.rows));
    } else if (type === PAYLOAD.flag && payload.length === 4) {
      const flag = payload.readUInt32BE(0);
      if (flag === TERMINATE) this.end();
      else if (flag === DISCONNECT) this.port?.disconnect();
    }
  }

  private stayAwake(): void {
    clearTimeout(this.idle);
    this.idle = setTimeout(
      () => this.end(`Session ${this.id} was terminated: nothing came from the client for too long.`),
      this.settings.idle,
    );
    this.idle.unref();
  }

  private askForHandshake(): void {
    const { type, properties } = this.document;
    this.shakingSince = Date.now();
    const { kmsKeyId } = this.settings;
    this.sendJson(PAYLOAD.handshakeRequest, {
      AgentVersion: this.settings.agentVersion,
      RequestedClientActions: [
        { ActionType: 'SessionType', ActionParameters: { SessionType: type, Properties: properties } },
        ...(kmsKeyId ? [{ ActionType: 'KMSEncryption', ActionParameters: { KMSKeyId: kmsKeyId } }] : []),
      ],
    });
  }

  private handshakeAnswered(payload: Buffer): void {
    if (this.shaken) return;
    const answer = parse(payload) as { ProcessedClientActions?: { ActionStatus?: unknown }[] } | undefined;
    const actions = answer?.ProcessedClientActions ?? [];
    if (!actions.length || actions.some(({ ActionStatus }) => ActionStatus !== 1) || this.settings.kmsKeyId)
      return this.end('The handshake failed.');
    this.shaken = true;
    const nanoseconds = (Date.now() - this.shakingSince) * 1_000_000;
    this.sendJson(PAYLOAD.handshakeComplete, { HandshakeTimeToComplete: nanoseconds, CustomerMessage: '' });
    this.run();
  }

  private run(): void {
    const { separate, type } = this.document;
    if (type === 'Port') return this.runPort();
    const holds = type === 'NonInteractiveCommands' && !separate;
    const output: ProgramOutput = {
      onData: async (data, stream) => {
        // The pipe is closed by this.
        if (separate && this.settings.pauseEndsOutput && !this.client) throw new Error('the channel is paused');
        if (holds) this.held.push(data);
        else await this.output(data, stream);
      },
      onEnd: (code) => {
        if (this.ended) return;
        // The agent of an instance that is gone sends nothing more.
        if (!this.settings.there()) return this.end();
        void (async () => {
          if (holds) await this.output(Buffer.concat(this.held), 'stdout');
          if (separate) this.channel.send(PAYLOAD.exitCode, Buffer.from(`EXIT_CODE: ${code}`));
          await this.finish();
        })();
      },
      onFailure: (message) => {
        if (this.ended) return;
        if (separate) this.channel.send(PAYLOAD.exitCode, Buffer.from('EXIT_CODE: 1'));
        this.channel.send(PAYLOAD.stderr, Buffer.from(message));
        void this.finish();
      },
    };
    this.program = new Program(this.document, this.settings.environment, output, this.settings.user);
  }

  private runPort(): void {
    const { address, agentVersion } = this.settings;
    const dialled = () => dial(address, Number(this.document.properties.portNumber));
    const output: PortOutput = {
      send: async (data) => {
        // The pieces of a frame follow each other.
        for (let from = 0; from < data.length && !this.ended; from += PORT_PIECE_BYTES)
          this.channel.send(PAYLOAD.output, data.subarray(from, from + PORT_PIECE_BYTES));
        await this.channel.waitForWindow();
      },
      refused: () => {
        const flag = Buffer.alloc(4);
        flag.writeUInt32BE(CONNECT_ERROR);
        if (!this.ended) this.channel.send(PAYLOAD.flag, flag);
      },
      block: (blocked) => this.channel.block(blocked),
      end: (why) => this.end(why),
      done: () => void this.finish(),
    };
    const isSsh = this.document.properties.type === undefined;
    const isNew = !isOlder(this.clientVersion, MUX_CLIENT_SINCE) && !isOlder(agentVersion, MUX_AGENT_SINCE);
    this.port = isNew && !isSsh ? new MuxPort(dialled, output) : new SinglePort(dialled, output, isSsh);
  }

  private async output(data: Buffer, stream: 'stdout' | 'stderr'): Promise<void> {
    for (const piece of this.texts[stream].take(data)) {
      if (this.ended) return;
      this.channel.send(stream === 'stdout' ? PAYLOAD.output : PAYLOAD.stderr, piece);
      await this.channel.waitForWindow();
    }
  }

  /** What ran is done: the session ends when everything was acknowledged. */
  private async finish(): Promise<void> {
    await this.channel.drained();
    this.end();
  }

  private sendJson(type: number, content: unknown): void {
    this.channel.send(type, Buffer.from(JSON.stringify(content)));
  }
}

function isOlder(version: string, since: number[]): boolean {
  const parts = version.split('.').map(Number);
  for (const [at, least] of since.entries()) {
    if ((parts[at] || 0) !== least) return (parts[at] || 0) < least;
  }
  return false;
}

function parse(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString()) as unknown;
  } catch {
    return undefined;
  }
}
