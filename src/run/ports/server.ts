import { LastWord, shellCommand, type ServerCommand, type ServerWord } from '../../command/session/shell-command';
import { openStream, type SessionStream } from '../../command/session/stream';
import { Problem } from '../../report/problem';
import { sessionRefusal } from '../../command/session/session-refusal';
import { OutputTail } from './output-tail';
import type { Place } from './place';

/** A server that is started on an instance to be used from this machine. */
export interface Tool extends ServerCommand {
  /** As people write it: TensorBoard. */
  name: string;
  /** What installs it, where it is not in the environment. */
  install: string;
}

/** A server on an instance. */
export interface RunningServer {
  /** The port of the instance's 127.0.0.1 that it listens on. */
  port: number;
  /** Resolves when its session was cut, terminated or lost; rejects with a Problem where the server itself ended. */
  ended: Promise<void>;
  close(): Promise<void>;
}

const DOCUMENT = 'AWS-StartInteractiveCommand';
/** From the start of a server until it listens, ms. Jupyter on a small instance takes half a minute. */
const START_TIMEOUT_MS = 180_000;

/**
 * Starts a server in the environment of a run, as its user, in a session: it ends when the session does. It is the
 * service that ends the session of a client that is gone, after its idle timeout (20 minutes unless it is set).
 * @param token what the server asks its users for; it is sent as input, and is in no argument and in no log.
 * @throws Problem what openStream throws; PROGRAM_MISSING, TOOL_FAILED; what the instance says where there is no such place.
 */
export async function startServer(
  place: Place,
  instance: string,
  tool: Tool,
  token: string,
  signal: AbortSignal,
): Promise<RunningServer> {
  const server = new Server(place, instance, tool, token);
  return server.start(signal);
}

class Server {
  private readonly output: OutputTail;
  private stream?: SessionStream;
  private listening!: (port: number) => void;
  private readonly listens = new Promise<number>((resolve) => (this.listening = resolve));
  private sendToken!: () => void;
  private readonly word: LastWord;
  private readonly command: string;

  constructor(
    private readonly place: Place,
    private readonly instance: string,
    private readonly tool: Tool,
    token: string,
  ) {
    const { context, runId, tree } = place;
    const { configuration, project, printer } = context;
    const shell = shellCommand({
      root: configuration.remoteRoot ?? null,
      run: runId,
      tree,
      project,
      projectRoot: configuration.projectRoot,
      user: configuration.user ?? null,
      serve: { programs: tool.programs, asRoot: tool.asRoot, tokenVariable: tool.tokenVariable },
    });
    this.command = shell.command;
    this.word = new LastWord(shell.nonce, (word) => this.takeWord(word));
    this.output = new OutputTail((line) => printer.detail(line), token);
    const ready = new Promise<void>((resolve) => (this.sendToken = resolve));
    void ready.then(() => this.stream?.write(Buffer.from(`${token}\n`)));
  }

  async start(signal: AbortSignal): Promise<RunningServer> {
    const { aws, project, printer } = this.place.context;
    printer.line(`Starting ${this.tool.name} on ${this.instance}.`);
    const show = (data: Buffer) => this.output.add(this.word.take(data));
    const opened = openStream(aws, this.instance, {
      document: DOCUMENT,
      parameters: { command: [this.command] },
      reason: `nx-ec2: ${this.tool.name} for ${project}`,
      onOutput: show,
      onError: show,
      signal,
    });
    const stream = (this.stream = await opened);
    const ended = stream.ended.then(({ why }) => this.assertCut(why));
    ended.catch(() => undefined);
    const port = await this.wait(ended, signal).catch(async (error: unknown) => {
      await stream.close().catch(() => undefined);
      throw error;
    });
    return { port, ended, close: () => stream.close() };
  }

  /** @returns the port. */
  private async wait(ended: Promise<void>, signal: AbortSignal): Promise<number> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(this.failed(`does not listen after ${START_TIMEOUT_MS / 1000} s`)),
        START_TIMEOUT_MS,
      );
    });
    const cut = ended.then(() => {
      signal.throwIfAborted();
      throw this.failed('was ended with its session');
    });
    try {
      return await Promise.race([this.listens, late, cut]);
    } finally {
      clearTimeout(timer);
      cut.catch(() => undefined);
    }
  }

  private takeWord(word: ServerWord): void {
    if ('ready' in word) this.sendToken();
    else this.listening(word.listening);
  }

  /** @throws Problem if it was the server that ended, not its session. */
  private assertCut(why: string): void {
    const { end } = this.word;
    if (!end) return this.place.context.printer.detail(`The session of ${this.tool.name} ended: ${why}.`);
    if ('exit' in end) throw this.failed(`ended with exit code ${end.exit}`);
    if (end.error.code === 'PROGRAM_MISSING')
      throw new Problem('PROGRAM_MISSING', `${this.instance}: ${end.error.message}.`, { next: this.tool.install });
    throw sessionRefusal(this.instance, end.error);
  }

  private failed(how: string): Problem {
    return this.output.failed(`${this.tool.name} on ${this.instance} ${how}.`);
  }
}
