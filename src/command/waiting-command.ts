import { createHmac, randomBytes } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import type { Aws } from '../aws/clients';
import type { StoreKeys } from '../store/keys';
import type { Store } from '../store/store';
import { steadyNow } from '../system/moment';
import type { Plan } from './plan';
import { runtimeProgram } from './runtime-program';
import { commandScript, type AwaitedPlan } from './script';
import { seal } from './seal';
import { sendCommand, type CommandOptions } from './send-command';

/** How long the instance waits for the plan from the command's start, s. It holds one of five slots of Run Command. */
const PLAN_WAIT_S = 5;
/** The plan is not sent later than this after the command, ms: a command that started at once may have ended. */
const PLAN_LATE_MS = 4_000;
/** The largest plan that the instance reads, sealed, bytes. */
const MAX_PLAN_BYTES = 256 * 1024;

/** What is known of a command before its plan. */
export interface AheadCommand {
  tree: string;
  root: string | null;
  /** As in Request. */
  compiled: string | null | undefined;
  /** The instances may lack the runtime: the command says where in the store it is. */
  needsRuntime: boolean;
}

/** A command that has been sent ahead of its plan: docs/reference/formats.md, "A plan that follows its command". */
export class WaitingCommand {
  /** The command's id for each instance. */
  readonly ids: Promise<Map<string, string>>;
  readonly sentAt = steadyNow();
  /** The plan is in the store, or may be. */
  isStored = false;

  private constructor(
    private readonly store: Store,
    private readonly plan: { key: string; sealKey: Buffer },
    readonly script: string,
    /** Sent by a warm sync. What kept its plan away may keep away that of the next one. */
    readonly isWarm: boolean,
    sent: Promise<Map<string, string>>,
  ) {
    this.ids = sent;
    this.ids.catch(() => undefined);
  }

  /** Sends it, and opens the connection that the plan takes. */
  static async send(
    { aws, store, keys }: { aws: Aws; store: Store; keys: StoreKeys },
    instances: readonly string[],
    command: AheadCommand,
    options: Omit<CommandOptions, 'assertInstanceExists'>,
  ): Promise<WaitingCommand> {
    const { sha256: runtime, bootstrap } = runtimeProgram();
    const { compiled, tree, root, needsRuntime } = command;
    const planKey = keys.plan(randomBytes(12).toString('hex'));
    const key = randomBytes(32);
    store.connect();
    const awaited: AwaitedPlan = {
      url: await store.presignGet(planKey),
      key: key.toString('base64'),
      seconds: PLAN_WAIT_S,
      tree,
      root,
    };
    if (needsRuntime) awaited.runtime = { url: await store.presignGet(keys.runtime(runtime)) };
    const script = commandScript(bootstrap, { v: 1, runtime, compiled, await: awaited });
    const sealKey = createHmac('sha256', key).update(`nx-ec2 awaited plan 1\n${runtime}\n${tree}`).digest();
    const sent = sendCommand(aws, instances, script, options);
    return new WaitingCommand(store, { key: planKey, sealKey }, script, !needsRuntime, sent);
  }

  /**
   * Stores the plan, once the command is known to be sent.
   * @returns why it was not stored: the command ends without effect, and another is to be sent.
   * @throws Problem where either failed.
   */
  async deliver(plan: Plan): Promise<'late' | 'large' | null> {
    await this.ids;
    if (steadyNow() - this.sentAt > PLAN_LATE_MS) return 'late';
    const sealed = seal(deflateSync(Buffer.from(JSON.stringify(plan))), this.plan.sealKey);
    if (sealed.length > MAX_PLAN_BYTES) return 'large';
    this.isStored = true;
    await this.store.put(this.plan.key, sealed);
    return null;
  }

  /** Deletes the plan, which no instance needs any more. */
  async forget(): Promise<void> {
    if (this.isStored) await this.store.deleteUnwaited(this.plan.key);
  }
}
