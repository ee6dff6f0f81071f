import { createHmac, randomBytes } from 'node:crypto';
import type { Aws } from '../aws/clients';
import { isTransient } from '../aws/reason';
import type { Problem } from '../report/problem';
import { readRunState, writeRunState } from './run-state';
import { StoreSecret } from './store-secret';
import type { StoreKeys } from './keys';

/** Whose record it is. */
export interface RunName {
  keys: StoreKeys;
  run: string;
  /** The rank of one of its nodes; the first one's record is the run's. */
  node?: number;
}

/** What the signature of a record names: no node's record passes for another's. */
export function signedName({ run, node = 0 }: RunName): string {
  return node === 0 ? run : `${run}/node/${node}`;
}

/** What identifies a run: only a client may write it. */
export interface RunIdentity {
  /** Of its training: two runs with one key are taken for one another. */
  runKey: string;
  snapshot: string;
  caller: string;
  /** Whose workspace it was started from. */
  tree: string;
}

/** The keys of one run, made of the store's secret, or of one that this machine keeps for the run. */
export class RunKeys {
  /** What its instance signs its record with. */
  readonly key: Buffer;

  constructor(
    private readonly secret: Buffer,
    private readonly name: RunName,
  ) {
    // Other runs' keys tell nothing of it. A run's id has no line break: no two names make one text.
    this.key = hmac(secret, `nx-ec2 record key 1\n${name.run}\n${name.keys.project}`);
  }

  /**
   * What a client signs of a run. The instance has `key` and could sign any record of its run with it, but not say that
   * the run is another training, somebody else's, or of another workspace: docs/reference/formats.md, "Signed records".
   */
  identity({ runKey, snapshot, caller, tree }: RunIdentity): Buffer {
    const { keys, run } = this.name;
    const text = JSON.stringify([run, keys.project, runKey, snapshot, caller, tree]);
    return hmac(hmac(this.secret, 'nx-ec2 run identity 2'), text);
  }
}

export interface KeysForStart {
  keys: RunKeys;
  /** Why this machine alone can verify the run's record; null: everybody who reads the store's secret can. */
  local: Problem | null;
}

export interface KeysForVerification {
  /** One of them are the run's. */
  keys: RunKeys[];
  /** Why the key that the store's secret makes is not among them; null: it is. */
  missing: Problem | null;
}

/**
 * The keys that runs sign their records with: docs/reference/formats.md, "Signed records". A run's key is derived from the store's
 * secret; where that can't be read, it is a random one that this machine keeps.
 */
export class SigningKeys {
  private readonly secrets = new Map<string, StoreSecret>();

  constructor(
    private readonly aws: Aws,
    private readonly bucket: string,
  ) {}

  /**
   * The key for a run that this machine starts, or starts again.
   * @throws Problem where AWS does not answer: then nothing can be started either.
   */
  async forStart(name: RunName): Promise<KeysForStart> {
    const state = await this.state(name);
    if (state.secret) return { keys: new RunKeys(state.secret, name), local: null };
    const secret = this.secret(name);
    try {
      return { keys: new RunKeys(await secret.make(), name), local: null };
    } catch (error) {
      const problem = error as Problem;
      if (isTransient(problem.cause) || problem.code !== 'STORE_SECRET') throw error;
      const own = randomBytes(32);
      writeRunState(await this.place(name), { ...state, secret: own });
      return { keys: new RunKeys(own, name), local: problem };
    }
  }

  /** The keys that a run's record may be signed with. @param refresh the secret is read again, not taken from this machine. */
  async forVerification(name: RunName, refresh = false): Promise<KeysForVerification> {
    const state = await this.state(name);
    const own = state.secret ? [new RunKeys(state.secret, name)] : [];
    try {
      const secret = await this.secret(name).read(refresh);
      return { keys: [...own, new RunKeys(secret, name)], missing: null };
    } catch (error) {
      const problem = error as Problem;
      if (isTransient(problem.cause) || problem.code !== 'STORE_SECRET') throw error;
      return { keys: own, missing: problem };
    }
  }

  /** Makes sure that the store has its secret. @returns the parameter that holds it. @throws Problem `STORE_SECRET` */
  async check(keys: StoreKeys): Promise<string> {
    const secret = this.secret({ keys });
    await secret.make();
    return secret.parameter;
  }

  /** The version of a run's record that this machine has seen; null: none. */
  async seen(name: RunName): Promise<[attempt: number, heartbeat: number] | null> {
    return readRunState(await this.placeOfNode(name)).seen ?? null;
  }

  async cache(name: RunName, seen: [attempt: number, heartbeat: number]): Promise<void> {
    const place = await this.placeOfNode(name);
    writeRunState(place, { ...readRunState(place), seen });
  }

  private secret({ keys: { prefix } }: Pick<RunName, 'keys'>): StoreSecret {
    let secret = this.secrets.get(prefix);
    if (!secret) this.secrets.set(prefix, (secret = new StoreSecret(this.aws, this.bucket, prefix)));
    return secret;
  }

  private async state(name: RunName) {
    return readRunState(await this.place(name));
  }

  private async place({ keys, run }: RunName): Promise<string[]> {
    return [await this.secret({ keys }).place(), keys.project, run];
  }

  /** The versions of its nodes' records are kept each by itself; the secret is the run's. */
  private async placeOfNode(name: RunName): Promise<string[]> {
    return [...(await this.place(name)).slice(0, -1), signedName(name)];
  }
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
