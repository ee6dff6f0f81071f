import { createHash, randomBytes } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import type { Aws } from '../aws/clients';
import { Problem } from '../report/problem';
import type { StoreKeys } from '../store/keys';
import type { Store } from '../store/store';
import type { Operation, Plan } from './plan';
import { remoteSide } from './remote-side';
import { parseReply, type Reply } from './reply';
import { COMMAND_LIMIT, runCommand, unanswered } from './run-command';
import { commandScript, type Request } from './script';

export interface RemoteSettings {
  remoteRoot?: string;
  user?: string;
}

export interface SendOptions {
  comment: string;
  /** Seconds that the operation may take on the instance. */
  executionTimeout?: number;
  /** True where the plan holds what should not stay in the command history (a training's environment variables). */
  confidential?: boolean;
  signal?: AbortSignal;
  stillThere?: () => Promise<void>;
}

/** A failure that the remote side reported, as data. */
export class RemoteFailure extends Problem {
  constructor(
    readonly remoteCode: string,
    what: string,
    readonly detail: Record<string, unknown>,
    next?: string,
  ) {
    super(remoteCode, what, { next });
  }
}

/** The remote side of one instance, as seen from here: operations go out, replies come back. */
export class Remote {
  /** The remote side is known to be in the store (or on the instance, which does for it). */
  private helperStored = false;

  constructor(
    private readonly aws: Aws,
    private readonly store: Store,
    private readonly keys: StoreKeys,
    private readonly instance: string,
    private readonly settings: RemoteSettings,
  ) {}

  /** The remote side's hash, for whoever records that an instance has it. */
  get helper(): string {
    return remoteSide().sha256;
  }

  /** Says that an instance has acknowledged this very remote side before. */
  assumeHelper(sha256: string | undefined): void {
    if (sha256 === this.helper) this.helperStored = true;
  }

  /** Makes sure that the store holds the remote side; can be done while something else is on its way. */
  async storeHelper(options: { replace?: boolean } = {}): Promise<void> {
    if (this.helperStored && !options.replace) return;
    const { bytes, sha256 } = remoteSide();
    await this.store.put(this.keys.helper(sha256), bytes, { onlyIfNew: !options.replace });
    this.helperStored = true;
  }

  /**
   * Sends one operation in one SSM command and returns its result.
   * @throws RemoteFailure what the remote side refused or could not do; Problem for everything on the way there.
   */
  async send<T>(operation: Operation, options: SendOptions): Promise<T> {
    await this.storeHelper();
    let reply = await this.attempt<T>(operation, options);
    if (!reply.ok && isHelperTrouble(reply.error)) {
      // The store's copy is gone or not ours: it is replaced, once.
      await this.storeHelper({ replace: true });
      reply = await this.attempt<T>(operation, options);
    }
    if (!reply.ok) throw remoteFailure(this.instance, operation.op, reply.error);
    return reply;
  }

  private async attempt<T>(operation: Operation, options: SendOptions): Promise<Reply<T>> {
    const { sha256, bootstrap } = remoteSide();
    const plan: Plan & Operation = {
      v: 1,
      root: this.settings.remoteRoot ?? null,
      helper: { url: await this.store.presignGet(this.keys.helper(sha256)) },
      user: this.settings.user ?? null,
      ...operation,
    };
    const json = Buffer.from(JSON.stringify(plan));
    let request: Request = { v: 1, helper: sha256, plan: deflateSync(json).toString('base64') };
    let script = commandScript(bootstrap, request);
    let stored: string | undefined;
    if (options.confidential || Buffer.byteLength(JSON.stringify(script)) > COMMAND_LIMIT) {
      stored = this.keys.plan(randomBytes(12).toString('hex'));
      await this.store.put(stored, json, { contentType: 'application/json' });
      request = {
        v: 1,
        helper: sha256,
        fetch: { url: await this.store.presignGet(stored), sha256: createHash('sha256').update(json).digest('hex') },
      };
      script = commandScript(bootstrap, request);
    }
    try {
      const invocation = await runCommand(this.aws, this.instance, script, {
        comment: options.comment,
        executionTimeout: options.executionTimeout ?? 120,
        signal: options.signal,
        stillThere: options.stillThere,
      });
      const reply = parseReply(invocation.stdout);
      if (!reply) throw unanswered(this.instance, invocation);
      return reply as Reply<T>;
    } finally {
      // A plan holds URLs and perhaps secrets: it goes at once; `prune` takes what a killed process leaves behind.
      if (stored) await this.store.delete([stored]).catch(() => undefined);
    }
  }
}

function isHelperTrouble(error: { code: string; detail: Record<string, unknown> }): boolean {
  return error.code === 'HELPER_MISMATCH' || (error.code === 'FETCH_FAILED' && error.detail.what === 'helper');
}

/** The remote side's error, in a sentence with its next step. */
function remoteFailure(
  instance: string,
  op: string,
  error: { code: string; message: string; detail: Record<string, unknown> },
): RemoteFailure {
  const { code, detail } = error;
  const next: Record<string, string> = {
    NO_PYTHON:
      'Install Python 3.8 or newer on the instance, or use an AMI that has it (Ubuntu 20.04+, Amazon Linux 2023).',
    FETCH_FAILED:
      'The instance needs a route to S3 (an S3 gateway endpoint does), and the bucket must allow presigned URLs: nx run <project>:remote-doctor tries both.',
    UPLOAD_FAILED: 'The bucket must accept form uploads from the instance: nx run <project>:remote-doctor tries it.',
    BUSY: 'Another sync is at work on this tree: wait for it, or set "sync.tree" to have one of your own.',
    NO_SPACE: 'Free space on the instance, or set "remoteRoot" to a larger volume.',
    NO_ROOT: 'Set "remoteRoot" to a directory that can be written and executed from.',
    NO_USER: 'Set "user" to a login name that exists on the instance.',
    PATH_BLOCKED: 'Move what stands there away on the instance; no sync brought it.',
    INTERNAL: 'This is a fault of nx-ec2: please report it with the trace below.',
  };
  const aws = detail.aws
    ? `\nS3 says: ${typeof detail.aws === 'string' ? detail.aws : JSON.stringify(detail.aws)}`
    : '';
  const trace = code === 'INTERNAL' && detail.trace ? `\n${String(detail.trace)}` : '';
  return new RemoteFailure(
    code,
    `${instance} could not ${op === 'sync' || op === 'train' ? 'take the files' : op}: ${error.message} (${code})${aws}`,
    detail,
    next[code] ? `${next[code]}${trace}` : undefined,
  );
}
