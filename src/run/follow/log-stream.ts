import type { RunFacts } from '../../command/plan';
import { Problem } from '../../report/problem';
import { standaloneProgram } from '../../command/runtime-program';
import type { SessionStream } from '../../command/session/stream';
import type { RunContext } from '../../context/types';

/** What the stream's documents are called: docs/explanation/trust.md says which permissions they take. */
const DOCUMENT = 'AWS-StartNonInteractiveCommand';

/** A line of log_tail.py is shorter, characters: an offset, and 32 KiB in base64. */
const MAX_LINE = 64 * 1024;

/** Most runs end before it is needed: it is loaded then. */
function sessions() {
  // eslint-disable-next-line @typescript-eslint/no-require-imports, @typescript-eslint/consistent-type-imports
  return require('../../command/session/stream') as typeof import('../../command/session/stream');
}

/** Where sessions were refused in this process, they are not asked for again. */
let refused = false;

/** A run's log by a session of its own: each piece as soon as it was written. It holds no slot of Run Command. */
export class LogStream {
  /** It is open, and brings what there is. */
  alive = false;
  /** It has ended, and brings nothing more. */
  over = false;
  private closed = false;
  private session: SessionStream | undefined;
  private held = '';

  private constructor(private readonly onPiece: (offset: number, data: Buffer) => void) {}

  /** Opens one beside the other requests; null where sessions are known to be refused. */
  static open(
    context: RunContext,
    run: RunFacts,
    at: number,
    onPiece: (offset: number, data: Buffer) => void,
  ): LogStream | null {
    if (refused || process.env.NX_EC2_NO_SESSIONS) return null;
    const stream = new LogStream(onPiece);
    void stream.begin(context, run, at);
    return stream;
  }

  close(): void {
    this.closed = true;
    this.alive = false;
    void this.session?.close().catch(() => undefined);
  }

  private async begin(context: RunContext, run: RunFacts, at: number): Promise<void> {
    try {
      const { openStream } = sessions();
      await context.at(run.instance).allowed();
      const opened = await openStream(context.aws, run.instance, {
        document: DOCUMENT,
        parameters: {
          command: [standaloneProgram('run_dir/log_tail.py', { home: run.directory, at })],
          separateOutputStream: ['true'],
        },
        reason: `nx-ec2: follow ${run.id}`,
        onOutput: (data: Buffer) => this.take(data, run.instance),
        onError: (data: Buffer) => context.printer.detail(`The stream says: ${data.toString().trim()}`),
      });
      this.session = opened;
      if (this.closed) return void opened.close().catch(() => undefined);
      const { why } = await opened.ended;
      context.printer.detail(`The stream of ${run.id} has ended: ${why}`);
    } catch (error) {
      // What is not allowed is not asked for again; what did not work may work the next time.
      refused ||= /^SESSION_(DENIED|ENCRYPTED)$/.test((error as Problem).code);
      context.printer.detail(
        `Following the log in the store instead, some seconds late: ${(error as Error).message.split('\n')[0]}`,
      );
    } finally {
      // The store has all of it, too.
      this.alive = false;
      this.over = true;
    }
  }

  /** @throws Problem `SESSION_PROTOCOL`, which ends the session. */
  private take(data: Buffer, instance: string): void {
    this.alive = !this.closed;
    if (this.closed) return;
    const lines = (this.held + data.toString('latin1')).split('\n');
    this.held = lines.pop()!;
    if (this.held.length > MAX_LINE || lines.some((line) => line.length > MAX_LINE))
      throw new Problem('SESSION_PROTOCOL', `${instance} sent a line of the log's stream that is too long.`);
    for (const line of lines) {
      const [offset, piece] = line.split(' ');
      if (/^\d+$/.test(offset) && piece) this.onPiece(Number(offset), Buffer.from(piece, 'base64'));
    }
  }
}
