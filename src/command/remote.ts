import { createHash, randomBytes } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import type { Aws } from '../aws/clients';
import type { StoreKeys } from '../store/keys';
import type { Store } from '../store/store';
import { CompiledCode } from './compiled-code';
import type { Operation, Plan } from './plan';
import { runtimeProgram } from './runtime-program';
import { storeRuntime } from './store-runtime';
import { parseReply } from './reply';
import { checkReply } from './reply-shapes';
import { REPEAT } from './repeat';
import { MAX_COMMAND_BYTES, sendCommand, type CommandOptions } from './send-command';
import { finishCommand } from './finish-command';
import { noReplyError } from './no-reply';
import { commandScript } from './script';
import { isRuntimeTrouble, remoteFailure, RemoteFailure } from './remote-failure';
import { seal } from './seal';
import { sleep } from '../system/sleep';
import { MissedPlans } from './missed-plans';
import { WaitingCommand, type AheadCommand } from './waiting-command';

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
  /** A command that waits for the plan of this operation, if one was sent. Where it does not take it, another is sent. */
  waiting?: Promise<WaitingCommand | null>;
  /** Called where another is sent. */
  onNotTaken?: (why: string) => void;
}

export interface RemoteOptions {
  aws: Aws;
  store: Store;
  keys: StoreKeys;
  /** The instance's id. */
  instance: string;
  settings?: RemoteSettings;
  /** Where this machine remembers what code instances have compiled; undefined: it does not. */
  codeDirectory?: string;
  /** Where this machine remembers the instances whose commands got no plan; undefined: it does not. */
  missedPlansDirectory?: string;
  /** Throws when an instance is gone: SSM says of its commands for long that they are in progress. */
  assertInstanceExists: (instance: string) => Promise<void>;
  /** Throws where no command may be sent to an instance. */
  assertAllowed?: (instance: string) => Promise<void>;
}

/** What a plan that follows its command costs more than one in it, ms, on an instance near S3: a plan that comes as soon is waited for. */
const FOLLOWING_PLAN_MS = 40;
/** How long an operation may take on the instance if nothing is said, seconds. */
const DEFAULT_EXECUTION_TIMEOUT_S = 120;

interface Command extends Omit<CommandOptions, 'assertInstanceExists'> {
  script: string;
}

/** The runtime of one instance, as seen from here: operations go out, replies come back. */
export class Remote {
  /** The runtime is known to be in the store (or on the instance, which does for it). */
  private runtimeStored = false;
  private storing?: Promise<void>;

  private readonly compiledCode: CompiledCode;
  private readonly missedPlans: MissedPlans;

  constructor(private readonly options: RemoteOptions) {
    this.compiledCode = new CompiledCode(options.codeDirectory, options.settings?.remoteRoot);
    this.missedPlans = new MissedPlans(options.missedPlansDirectory, options.store.bucket);
  }

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
    const { store, keys } = this.options;
    if (options.replace) await storeRuntime(store, keys, true);
    else await (this.storing ??= storeRuntime(store, keys).finally(() => (this.storing = undefined)));
    this.runtimeStored = true;
  }

  /**
   * Sends one operation in one SSM command and returns its result.
   * @throws RemoteFailure what the runtime refused or could not do; Problem for everything on the way there.
   */
  async send<T>(operation: Operation, options: SendOptions): Promise<T> {
    const result = (await this.sendEach<T>([this.options.instance], operation, options)).get(this.options.instance)!;
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
    await Promise.all(instances.map((instance) => this.options.assertAllowed?.(instance)));
    const results = options.waiting
      ? await this.deliver<T>(options.waiting, instances, operation, options)
      : new Map<string, T | Error>();
    const attempt = async (some: readonly string[]) => {
      for (const [instance, result] of await this.attempt<T>(some, operation, options)) results.set(instance, result);
    };
    const others = instances.filter((instance) => !results.has(instance));
    if (others.length) {
      await this.uploadRuntime();
      await attempt(others);
    }
    const troubled = instances.filter((instance) => isRuntimeTrouble(results.get(instance)!));
    if (troubled.length) {
      // The store's copy is gone or not ours: it is replaced, once.
      await this.uploadRuntime({ replace: true });
      await attempt(troubled);
    }
    return results;
  }

  /**
   * Sends a command whose plan follows: until then, it changes nothing.
   * @param planning if it resolves before the connection is open, or little later, the command is not sent.
   * @returns null if it is not sent; also if an earlier one got no plan a short time ago.
   */
  async sendAhead(
    instances: readonly string[],
    { tree, needsRuntime }: Pick<AheadCommand, 'tree' | 'needsRuntime'>,
    planning: Promise<void> | null,
    options: Pick<SendOptions, 'comment' | 'executionTimeout' | 'signal'>,
  ): Promise<WaitingCommand | null> {
    if (this.missedPlans.isExpected(tree, instances)) return null;
    if (needsRuntime) await this.uploadRuntime();
    await Promise.all(instances.map((instance) => this.options.assertAllowed?.(instance)));
    if (planning) {
      const planned = planning.then(() => true);
      const connected = this.options.aws.connected('ssm').then(() => sleep(FOLLOWING_PLAN_MS));
      if (await Promise.race([planned, connected.then(() => false)])) return null;
    }
    const compiled = this.compiledCode.named(instances, this.runtime);
    const root = this.options.settings?.remoteRoot ?? null;
    const command = { executionTimeout: DEFAULT_EXECUTION_TIMEOUT_S, ...options };
    return WaitingCommand.send(this.options, instances, { tree, root, compiled, needsRuntime }, command);
  }

  /** Gives a waiting command its plan. @returns the results; none of an instance on which the command had no effect. */
  private async deliver<T>(
    sent: Promise<WaitingCommand | null>,
    instances: readonly string[],
    operation: Operation,
    options: SendOptions,
  ): Promise<Map<string, T | Error>> {
    const results = new Map<string, T | Error>();
    const tree = 'tree' in operation ? operation.tree : '';
    const notTaken = (why: string, by = instances, isMissed = waiting?.isWarm) => {
      if (isMissed) this.missedPlans.add(tree, by);
      options.onNotTaken?.(why);
    };
    let waiting: WaitingCommand | null = null;
    try {
      waiting = await sent;
      if (!waiting) return results;
      const why = await waiting.deliver(await this.plan(operation));
      if (why) notTaken(why === 'late' ? 'the plan took too long' : 'the plan is too large');
      if (why) return results;
    } catch (error) {
      await waiting?.forget();
      if (options.signal?.aborted) throw error;
      notTaken((error as Error).message, instances, waiting?.isStored);
      return results;
    }
    options.onSent?.();
    try {
      const { script, sentAt } = waiting;
      const command = { ...options, script, sentAt, executionTimeout: timeoutOf(options) };
      const ids = await waiting.ids;
      await Promise.all(
        [...ids].map(async ([instance, id]) => {
          const result = await this.result<T>(instance, id, operation, command).catch((error: Error) => error);
          if (result instanceof RemoteFailure && result.remoteCode === 'NO_PLAN')
            return notTaken(result.message, [instance]);
          this.missedPlans.remove(tree, instance);
          results.set(instance, result);
        }),
      );
      return results;
    } finally {
      await waiting.forget();
    }
  }

  private async attempt<T>(
    instances: readonly string[],
    operation: Operation,
    options: SendOptions,
  ): Promise<Map<string, T | Error>> {
    const { aws, store } = this.options;
    const { script, storedPlan } = await this.script(instances, operation, options);
    const command: Command = {
      script,
      comment: options.comment,
      executionTimeout: timeoutOf(options),
      signal: options.signal,
    };
    try {
      const ids = await sendCommand(aws, instances, script, command);
      options.onSent?.();
      const results = await Promise.all(
        instances.map(async (instance): Promise<[string, T | Error]> => [
          instance,
          await this.result<T>(instance, ids.get(instance)!, operation, command).catch((error: Error) => error),
        ]),
      );
      return new Map(results);
    } finally {
      // A plan holds URLs and perhaps secrets: it goes at once; `prune` takes what a killed process leaves behind.
      if (storedPlan) await store.delete([storedPlan]).catch(() => undefined);
    }
  }

  /** The script of a command that carries out an operation, and the key of its plan where that is in the store. */
  private async script(
    instances: readonly string[],
    operation: Operation,
    { key: signingKey, confidential }: SendOptions,
  ): Promise<{ script: string; storedPlan?: string }> {
    const { store, keys } = this.options;
    const { sha256: runtime, bootstrap } = runtimeProgram();
    const compiled = this.compiledCode.named(instances, runtime);
    const plan = await this.plan(operation);
    const json = Buffer.from(JSON.stringify(plan));
    const deflated = confidential ? null : deflateWithin(json, MAX_COMMAND_BYTES);
    if (deflated) {
      const script = commandScript(bootstrap, {
        v: 1,
        runtime,
        compiled,
        signingKey,
        plan: deflated.toString('base64'),
      });
      if (Buffer.byteLength(JSON.stringify(script)) <= MAX_COMMAND_BYTES) return { script };
    }
    const storedPlan = keys.plan(randomBytes(12).toString('hex'));
    const sealKey = confidential ? randomBytes(32) : undefined;
    const bytes = sealKey ? seal(deflateSync(json), sealKey) : json;
    await store.put(storedPlan, bytes, { contentType: sealKey ? undefined : 'application/json' });
    const fetch = {
      url: await store.presignGet(storedPlan),
      sha256: createHash('sha256').update(bytes).digest('hex'),
      encryptionKey: sealKey?.toString('base64'),
    };
    return { script: commandScript(bootstrap, { v: 1, runtime, compiled, signingKey, fetch }), storedPlan };
  }

  private async plan(operation: Operation): Promise<Plan & Operation> {
    const { store, keys, settings } = this.options;
    return {
      v: 1,
      root: settings?.remoteRoot ?? null,
      runtime: { url: await store.presignGet(keys.runtime(this.runtime)) },
      user: settings?.user ?? null,
      ...operation,
    };
  }

  /** Waits for a command's end on one instance. @throws RemoteFailure what the runtime refused or could not do. */
  private async result<T>(instance: string, id: string, operation: Operation, command: Command): Promise<T> {
    const { aws, assertInstanceExists } = this.options;
    const invocation = await finishCommand(aws, instance, id, command.script, {
      ...command,
      assertInstanceExists: () => assertInstanceExists(instance),
      repeat: REPEAT[operation.op],
      answered: ({ stdout }) => parseReply(stdout) !== null,
    });
    const reply = parseReply(invocation.stdout);
    if (!reply) throw noReplyError(instance, invocation);
    if (!reply.ok) throw remoteFailure(instance, operation.op, reply.error);
    this.compiledCode.learn(instance, this.runtime, reply);
    return checkReply<T>(instance, operation, reply);
  }
}

/** @returns null for what would be longer: most of that is never deflated. */
function deflateWithin(data: Buffer, maxOutputLength: number): Buffer | null {
  try {
    return deflateSync(data, { maxOutputLength });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') return null;
    throw error;
  }
}

function timeoutOf({ executionTimeout = DEFAULT_EXECUTION_TIMEOUT_S }: SendOptions): number {
  return executionTimeout;
}
