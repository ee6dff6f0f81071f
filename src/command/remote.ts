import { createHash, randomBytes } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import type { Aws } from '../aws/clients';
import { runtimeCode } from '../report/error-codes';
import { Problem } from '../report/problem';
import type { StoreKeys } from '../store/keys';
import type { Store } from '../store/store';
import type { Operation, Plan } from './plan';
import { runtimeProgram } from './runtime-program';
import { parseReply } from './reply';
import { checkReply } from './reply-shapes';
import { REPEAT } from './repeat';
import { COMMAND_LIMIT, finishCommand, sendCommand, noReplyError } from './run-command';
import { commandScript, type Request } from './script';
import { seal } from './seal';

export interface RemoteSettings {
  remoteRoot?: string;
  user?: string;
}

export interface SendOptions {
  comment: string;
  /** Seconds that the operation may take on the instance. */
  executionTimeout?: number;
  /**
   * True where the plan holds what neither the command history nor the store should keep (a training's environment
   * variables): it travels through the store, sealed, and its key in the command.
   */
  confidential?: boolean;
  /** A key for what is written to the store later than the command, base64. It travels in the command even where the plan does not. */
  key?: string;
  signal?: AbortSignal;
  /** Called when the command has been sent: what may go beside it goes then. */
  onSent?: () => void;
}

/** A failure that the runtime reported, as data. */
export class RemoteFailure extends Problem {
  constructor(
    readonly remoteCode: string,
    what: string,
    readonly detail: Record<string, unknown>,
    next?: string,
  ) {
    super(runtimeCode(remoteCode), what, { next });
  }
}

/** The runtime of one instance, as seen from here: operations go out, replies come back. */
export class Remote {
  /** The runtime is known to be in the store (or on the instance, which does for it). */
  private runtimeStored = false;

  constructor(
    private readonly aws: Aws,
    private readonly store: Store,
    private readonly keys: StoreKeys,
    private readonly instance: string,
    private readonly settings: RemoteSettings,
    /** Throws when an instance is gone: SSM says of its commands for long that they are in progress. */
    private readonly assertInstanceExists: (instance: string) => Promise<void>,
    /** Throws where no command may be sent to an instance. */
    private readonly allowed: (instance: string) => Promise<void> = () => Promise.resolve(),
  ) {}

  /** The runtime's hash, for whoever records that an instance has it. */
  get runtime(): string {
    return runtimeProgram().sha256;
  }

  /** Says that an instance has acknowledged this very runtime before. */
  assumeRuntime(sha256: string | undefined): void {
    if (sha256 === this.runtime) this.runtimeStored = true;
  }

  /** Makes sure that the store holds the runtime; can be done while something else is on its way. */
  async uploadRuntime(options: { replace?: boolean } = {}): Promise<void> {
    if (this.runtimeStored && !options.replace) return;
    const { bytes, sha256 } = runtimeProgram();
    const key = this.keys.runtime(sha256);
    if (options.replace || !(await this.store.has(key)))
      await this.store.put(key, bytes, { onlyIfNew: !options.replace });
    this.runtimeStored = true;
  }

  /**
   * Sends one operation in one SSM command and returns its result.
   * @throws RemoteFailure what the runtime refused or could not do; Problem for everything on the way there.
   */
  async send<T>(operation: Operation, options: SendOptions): Promise<T> {
    const result = (await this.sendEach<T>([this.instance], operation, options)).get(this.instance)!;
    if (result instanceof Error) throw result;
    return result;
  }

  /**
   * Sends one operation to several instances in one SSM command.
   * @returns each one's result, or what it refused or what went wrong with it.
   * @throws Problem where the command could not be sent to any.
   */
  async sendEach<T>(
    instances: readonly string[],
    operation: Operation,
    options: SendOptions,
  ): Promise<Map<string, T | Error>> {
    await Promise.all(instances.map((instance) => this.allowed(instance)));
    await this.uploadRuntime();
    const results = await this.attempt<T>(instances, operation, options);
    const troubled = instances.filter((instance) => isRuntimeTrouble(results.get(instance)!));
    if (troubled.length) {
      // The store's copy is gone or not ours: it is replaced, once.
      await this.uploadRuntime({ replace: true });
      for (const [instance, result] of await this.attempt<T>(troubled, operation, options))
        results.set(instance, result);
    }
    return results;
  }

  private async attempt<T>(
    instances: readonly string[],
    operation: Operation,
    options: SendOptions,
  ): Promise<Map<string, T | Error>> {
    const { sha256, bootstrap } = runtimeProgram();
    const plan: Plan & Operation = {
      v: 1,
      root: this.settings.remoteRoot ?? null,
      runtime: { url: await this.store.presignGet(this.keys.runtime(sha256)) },
      user: this.settings.user ?? null,
      ...operation,
    };
    const json = Buffer.from(JSON.stringify(plan));
    const { key } = options;
    let request: Request = { v: 1, runtime: sha256, signingKey: key, plan: deflateSync(json).toString('base64') };
    let script = commandScript(bootstrap, request);
    let stored: string | undefined;
    if (options.confidential || Buffer.byteLength(JSON.stringify(script)) > COMMAND_LIMIT) {
      stored = this.keys.plan(randomBytes(12).toString('hex'));
      const sealKey = options.confidential ? randomBytes(32) : undefined;
      const bytes = sealKey ? seal(deflateSync(json), sealKey) : json;
      await this.store.put(stored, bytes, { contentType: sealKey ? undefined : 'application/json' });
      request = {
        v: 1,
        runtime: sha256,
        signingKey: key,
        fetch: {
          url: await this.store.presignGet(stored),
          sha256: createHash('sha256').update(bytes).digest('hex'),
          encryptionKey: sealKey?.toString('base64'),
        },
      };
      script = commandScript(bootstrap, request);
    }
    const command = {
      comment: options.comment,
      executionTimeout: options.executionTimeout ?? 120,
      signal: options.signal,
    };
    try {
      const ids = await sendCommand(this.aws, instances, script, command);
      options.onSent?.();
      const results = await Promise.all(
        instances.map(async (instance): Promise<[string, T | Error]> => {
          try {
            const invocation = await finishCommand(this.aws, instance, ids.get(instance)!, script, {
              ...command,
              assertInstanceExists: () => this.assertInstanceExists(instance),
              repeat: REPEAT[operation.op],
              answered: ({ stdout }) => parseReply(stdout) !== null,
            });
            const reply = parseReply(invocation.stdout);
            if (!reply) throw noReplyError(instance, invocation);
            if (!reply.ok) return [instance, remoteFailure(instance, operation.op, reply.error)];
            return [instance, checkReply<T>(instance, operation, reply)];
          } catch (error) {
            return [instance, error as Error];
          }
        }),
      );
      return new Map(results);
    } finally {
      // A plan holds URLs and perhaps secrets: it goes at once; `prune` takes what a killed process leaves behind.
      if (stored) await this.store.delete([stored]).catch(() => undefined);
    }
  }
}

function isRuntimeTrouble(result: unknown): boolean {
  if (!(result instanceof RemoteFailure)) return false;
  const { remoteCode, detail } = result;
  return remoteCode === 'RUNTIME_MISMATCH' || (remoteCode === 'FETCH_FAILED' && detail.what === 'runtime');
}

/** What each operation asks of the instance, in a user's words. */
const OPERATION_VERBS: Record<Operation['op'], string> = {
  sync: 'take the files',
  train: 'take the files',
  watch: 'take the files',
  poll: 'say how the run goes',
  cancel: 'stop the run',
  exec: 'run the command',
  renew: 'tell the store of the run',
  doctor: 'be examined',
  ready: 'say whether it has what the training needs',
  activity: 'say what runs there',
};

const NOT_IMPLEMENTED =
  'This S3 server lacks conditional writes or checksums, which an instance needs to write a run by its role. Attached (remote-train) and with "storeAccess" other than "role", a run is written by a presigned form instead. Another way is a server that has them: docs/explanation/reliability.md, "What nx-ec2 needs of an S3 server".';

/** The runtime's error, in a sentence with its next step. */
export function remoteFailure(
  instance: string,
  op: Operation['op'],
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
    NO_ROLE:
      'A run without a client needs the role of the instance: s3:PutObject on the prefix of the store (nx g nx-ec2:aws-setup grants it). With remote-train, which follows the run, it is not needed.',
    ACCESS_DENIED:
      'The role of the instance needs s3:PutObject and s3:GetObject on the prefix of the store: nx g nx-ec2:aws-setup grants both.',
    OBJECT_LOCKED:
      'Object Lock protects the object, and the bucket keeps no versions: a run replaces its record. Use a bucket without Object Lock for the store.',
    KEY_REFUSED:
      "This S3 server does not know the access key of the instance's role, as its metadata service hands it out: another server than AWS needs to know it. Attached, with remote-train, the role is not needed.",
    RUN_ACTIVE: 'Run the same command to attach. If the instance is gone, the run resumes on a new one after 60 s.',
    NOT_RESUMABLE: 'To start the training as a new run: --rerun',
    NO_TREE: 'Sync first: remote-sync.',
    NO_RUN: 'Without --run the latest run of this project by this caller is meant.',
    PATH_BLOCKED: 'Move that file away on the instance; no sync wrote it.',
    INTERNAL: 'This is a fault of nx-ec2: please report it with the trace below.',
  };
  if (code === 'UPLOAD_FAILED' && detail.status === 501) next[code] = NOT_IMPLEMENTED;
  const words = typeof detail.aws === 'string' ? detail.aws : JSON.stringify(detail.aws ?? '');
  const aws = detail.aws && !error.message.includes(words) ? `\nS3 says: ${words}` : '';
  const trace = code === 'INTERNAL' && detail.trace ? `\n${String(detail.trace)}` : '';
  return new RemoteFailure(
    code,
    `${instance} could not ${OPERATION_VERBS[op]}: ${error.message} (${code})${aws}`,
    detail,
    next[code] ? `${next[code]}${trace}` : undefined,
  );
}
