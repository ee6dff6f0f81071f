import { createHash, randomBytes } from 'node:crypto';
import { inflateSync } from 'node:zlib';
import type { Cursor, PollReply, RunState, Segment } from '../command/plan';
import { pause } from '../command/run-command';
import { isTransient } from '../aws/reason';
import { Problem } from '../report/problem';
import type { PresignedPost } from '../store/store';
import type { Session } from './session';

/** The pause between two polls, ms: short while there is something to show, longer while it is quiet. */
const SHORTEST = 700;
const LONGEST = 5_000;
/** A piece of a log that does not fit into replies may be this large in the store, bytes. */
const PIECE = 8 * 1024 * 1024;
/** A follower waits this long, ms, for AWS to come back: the run goes on without it. */
const PATIENCE = 30 * 60_000;
/** A form for uploads is signed again after this long, ms: it lives for an hour. */
const FORM_AGE = 30 * 60_000;

export interface Followed {
  run: RunState;
  /** Bytes of the training's own log that were shown. */
  logged: number;
}

/**
 * Shows a run's log from the start, set-up first, as it is written, until the run has ended and everything was shown.
 * Each poll is an SSM command that ends at once, so a follower never holds one of the instance's five slots.
 * @param onState called at each change of the run's state.
 */
export async function followRun(
  session: Session,
  runId: string | null,
  options: {
    signal?: AbortSignal;
    onState?: (run: RunState) => void;
    onLog: (data: Buffer, log: 'setup' | 'training') => void;
  },
): Promise<Followed> {
  let cursor: Cursor = { log: 'setup', offset: 0 };
  let wait = SHORTEST;
  let state = '';
  let logged = 0;
  let id = runId;
  let troubleSince: number | undefined;
  const overflow = new Overflow(session);
  /** Pieces that were shown go from the store meanwhile. */
  const removing: Promise<void>[] = [];
  for (;;) {
    let reply: PollReply;
    try {
      reply = await session.remote.send<PollReply>(
        {
          op: 'poll',
          run: id,
          project: session.project,
          tree: session.tree,
          cursor,
          overflow: id ? await overflow.offer(id) : null,
        },
        {
          comment: `nx-ec2: follow ${id ?? session.project}`,
          executionTimeout: 60,
          signal: options.signal,
          stillThere: session.stillThere,
        },
      );
      if (troubleSince) session.reporter.line('Connected again.');
      troubleSince = undefined;
    } catch (error) {
      if (options.signal?.aborted || !passes(error)) throw error;
      // The run goes on without us: a network cut or a restart of the agent is waited out.
      troubleSince ??= Date.now();
      if (Date.now() - troubleSince > PATIENCE) throw error;
      if (wait < LONGEST)
        session.reporter.line(`Lost the connection (${(error as Error).message.split('\n')[0]}); trying again.`);
      wait = LONGEST;
      await session.stillThere();
      await pause(wait, options.signal);
      continue;
    }
    id = reply.run.id;
    for (const segment of reply.segments) {
      const data = await segmentBytes(session, segment, removing);
      if (segment.log === 'training') logged += data.length;
      options.onLog(data, segment.log);
    }
    cursor = reply.cursor;
    if (reply.run.state !== state) options.onState?.(reply.run);
    state = reply.run.state;
    if (reply.run.outcome !== null && !reply.more) {
      await Promise.all(removing);
      return { run: reply.run, logged };
    }
    if (reply.more) continue;
    wait = reply.segments.length ? SHORTEST : Math.min(LONGEST, wait * 1.25);
    await pause(wait, options.signal);
  }
}

/** What a follower waits out, since it says nothing of the run. */
function passes(error: unknown): boolean {
  const problem = error as Problem;
  if (isTransient(problem.cause)) return true;
  return ['COMMAND_UNDELIVERED', 'COMMAND_TIMEOUT', 'COMMAND_FAILED', 'COMMAND_CANCELLED', 'INSTANCE_OFFLINE'].includes(
    problem.code,
  );
}

async function segmentBytes(session: Session, segment: Segment, removing: Promise<void>[]): Promise<Buffer> {
  let data: Buffer | null;
  if ('data' in segment) {
    data = inflateSync(Buffer.from(segment.data, 'base64'));
  } else {
    data = await session.store.get(segment.stored);
    removing.push(session.store.delete([segment.stored]).catch(() => undefined));
    if (!data || createHash('sha256').update(data).digest('hex') !== segment.sha256) {
      throw new Problem('LOG_MISMATCH', `A piece of the log (${segment.stored}) is not what the instance stored.`);
    }
  }
  if (data.length !== segment.length)
    throw new Problem('LOG_MISMATCH', `A piece of the log at ${segment.offset} is incomplete.`);
  return data;
}

/** Where a piece of a log goes that is too large for a reply. */
class Overflow {
  private form?: { post: PresignedPost; signedAt: number };
  private count = 0;
  private readonly id = randomBytes(4).toString('hex');

  constructor(private readonly session: Session) {}

  async offer(run: string) {
    const prefix = this.session.keys.out(run);
    if (!this.form || Date.now() - this.form.signedAt > FORM_AGE) {
      this.form = { post: await this.session.store.presignPost(prefix), signedAt: Date.now() };
    }
    return { post: this.form.post, key: `${prefix}log-${this.id}-${this.count++}`, limit: PIECE };
  }
}
