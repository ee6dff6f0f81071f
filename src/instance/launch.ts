import { randomBytes } from 'node:crypto';
import { pause } from '../command/run-command';
import { Problem } from '../report/problem';
import { assertProfile } from './assert-profile';
import type { BringUp } from './bring-up';
import { imagesOf } from './image';
import { LaunchJournal, type LaunchState, type StoredLaunch } from './launch-journal';
import { LaunchTerms, STALE } from './launch-terms';
import { isLiving, launchedUnder, lookAt, type LivingInstance } from './living';
import { machineTypes } from './machine-type';
import { TAG } from './made';
import { describeTry, isSameTry, placements, type Try } from './placement';
import { runInstances, type LaunchPatience } from './run-instances';
import { isRefusal, launchClaim, mismatch } from './stop/claim';
import { managedInstance, UNSEEN } from './stop/managed';
import { cancelOpenRequests, terminate } from './stop/terminate';

/** How long each kind of doubt is waited out, ms. */
export interface Patience extends LaunchPatience {
  /** After so long, what a killed launch has launched is seen by EC2's lists. */
  sure: number;
}

export const PATIENCE: Patience = { profile: 60_000, trouble: 120_000, sure: 30_000 };
const AGAIN = 1_000;
/** Times that an instance is written down against others who write. */
const MOST_CLAIMS = 20;

/** One launch of one machine, gone on with wherever the one before was killed: docs/FORMAT.md, "Launch". */
export class Launch {
  private readonly journal: LaunchJournal;
  private readonly terms: LaunchTerms;
  private tries: Try[] = [];
  /** What became of tries that this process has seen, in words. */
  private readonly seen = new Map<string, string>();
  private said = '';

  constructor(
    private readonly wish: BringUp,
    private readonly key: string,
    private readonly patience: Patience,
  ) {
    this.journal = new LaunchJournal(wish.store, wish.keys, key);
    this.terms = new LaunchTerms(wish, key);
  }

  /** @throws Problem NO_CAPACITY where every try was refused; others for what no other try would mend. */
  async run(): Promise<{ how: 'launched' | 'found'; instance: LivingInstance }> {
    const { aws, description, signal } = this.wish;
    await assertProfile(aws, description, signal);
    const types = await machineTypes(aws, description.types, signal);
    const [images, tries] = await Promise.all([
      imagesOf(aws, description.ami, types, signal),
      placements(aws, description, signal),
    ]);
    this.terms.images = images;
    this.tries = tries;
    for (let absent = 0; absent < 5;) {
      signal?.throwIfAborted();
      const stored = await this.journal.read(signal);
      if (!stored) absent++;
      const done = stored?.state ? await this.goOn(stored, stored.state) : null;
      if (done && done !== 'anew') return done;
      if (!stored || !stored.state || done === 'anew') await this.begin(stored?.etag ?? null);
    }
    throw new Problem('LAUNCH_STATE', 'How far the launch is can be written to the store, but not read.', {
      next: 'The caller needs s3:GetObject there: nx g nx-ec2:aws-setup has a policy.',
    });
  }

  /** Begins another generation, unless somebody else has. */
  private async begin(etag: string | null): Promise<void> {
    const { owner, by, run } = this.wish;
    const state = await this.terms.of({
      v: 1,
      generation: randomBytes(8).toString('hex'),
      at: Date.now(),
      by: owner.caller,
      made: by,
      run: by === 'remote-train' ? (run ?? null) : null,
      tries: this.tries,
      ...{ n: 0, refused: [], price: null, deadline: null, parameters: '', instance: null },
    });
    await this.journal.write(state, etag);
  }

  /** One step on from what is written down; null: look again. */
  private async goOn(
    { etag, age }: StoredLaunch,
    state: LaunchState,
  ): Promise<{ how: 'launched' | 'found'; instance: LivingInstance } | 'anew' | null> {
    const { aws, reporter, signal } = this.wish;
    if (state.instance !== null) {
      const instance = await lookAt(aws, state.instance, signal);
      if (instance && isLiving(instance) && this.isOurs(instance)) return { how: 'found', instance };
      return !instance && age < this.patience.sure ? this.doubt() : 'anew';
    }
    if (state.n >= state.tries.length) {
      if (this.seen.size) throw this.exhausted(state);
      return 'anew';
    }
    const token = tokenOf(state);
    const parameters =
      age < STALE && this.isOffered(state.tries[state.n]) ? await this.terms.sameParameters(state) : null;
    if (!parameters) return this.withoutParameters(state, etag, age);
    const what = describeTry(state.tries[state.n]);
    this.say(this.terms.describe(state));
    const answer = await runInstances(
      aws,
      parameters,
      token,
      what,
      this.patience,
      (text) => reporter.line(text),
      signal,
    );
    if ('other' in answer) return this.withoutParameters(state, etag, age);
    if ('refused' in answer) {
      reporter.line(`${what}: ${answer.refused}`);
      this.seen.set(`${state.generation} ${state.n}`, `${answer.refused}: ${answer.message}`);
      await this.giveUp(state, etag, answer.refused);
      return null;
    }
    if ('ended' in answer) return 'anew';
    return (await this.claim(answer.instance, state, etag)) ? { how: 'launched', instance: answer.instance } : null;
  }

  /**
   * A try that can't be made again as it was (another image, other prices, another version): what it has launched is
   * looked for, until EC2 must know of it.
   */
  private async withoutParameters(state: LaunchState, etag: string, age: number) {
    const [instance] = await launchedUnder(this.wish.aws, tokenOf(state), this.wish.signal);
    if (instance && this.isOurs(instance))
      return (await this.claim(instance, state, etag)) ? { how: 'found' as const, instance } : null;
    return age < this.patience.sure ? this.doubt() : 'anew';
  }

  private async doubt(): Promise<null> {
    this.say('A launch was begun elsewhere: waiting until it is known what it has launched.');
    await pause(AGAIN, this.wish.signal);
    return null;
  }

  private isOffered(to: Try): boolean {
    return this.tries.some((each) => isSameTry(each, to));
  }

  /** Not twice in a row. */
  private say(text: string): void {
    if (this.said !== text) this.wish.reporter.line((this.said = text));
  }

  private isOurs({ tags }: LivingInstance): boolean {
    return tags[TAG.key] === this.key && mismatch(tags, launchClaim(this.wish)) === null;
  }

  /**
   * Writes down which instance the launch has. Where the journal names another one, EC2 is asked about that: the id
   * alone may be anybody's. If it is one of ours and lives, this one is a duplicate and is terminated.
   * @returns whether the launch has this one.
   */
  private async claim(instance: LivingInstance, state: LaunchState, etag: string): Promise<boolean> {
    const { aws, signal } = this.wish;
    let at: string | null = etag;
    // An instance that can't be written down for others who write is found by its tags.
    for (let tries = 0; tries < MOST_CLAIMS;) {
      if ((await this.journal.write({ ...state, instance: instance.id }, at)) !== null) return true;
      const now: StoredLaunch | null = await this.journal.read();
      const named = now?.state?.instance ?? null;
      if (named === instance.id) return true;
      const other = named === null ? null : await lookAt(aws, named, signal);
      if (named !== null && !other && now!.age < this.patience.sure) {
        await this.doubt();
        continue;
      }
      const begunAnew = named === null && now?.state && now.state.generation !== state.generation;
      if (begunAnew || (other && isLiving(other) && this.isOurs(other))) {
        await this.terminateDuplicate(instance);
        return false;
      }
      at = now?.etag ?? null;
      tries++;
    }
    return true;
  }

  private async terminateDuplicate({ id }: LivingInstance): Promise<void> {
    const { aws, reporter } = this.wish;
    try {
      const duplicate = await managedInstance(aws, id, launchClaim(this.wish), { unseen: UNSEEN });
      if (!duplicate) return;
      reporter.line(`Terminating ${id}: another client launched an instance first.`);
      await terminate(aws, duplicate, reporter);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      reporter.warn(error.message);
    }
  }

  /** Goes on to the next try, unless somebody else has. */
  private async giveUp(state: LaunchState, etag: string, code: string): Promise<void> {
    const next: LaunchState = { ...state, n: state.n + 1, refused: [...state.refused, code] };
    while (next.n < next.tries.length && !this.isOffered(next.tries[next.n])) {
      next.n++;
      next.refused.push('NotOffered');
    }
    const market = next.tries[next.n]?.market;
    if (state.tries[state.n].market === 'spot' && market !== 'spot')
      await cancelOpenRequests(this.wish.aws, this.key, launchClaim(this.wish), this.wish.reporter);
    await this.journal.write(market ? await this.terms.of(next) : next, etag);
  }

  private exhausted({ generation, tries, refused }: LaunchState): Problem {
    const lines = tries.map(
      (each, n) => `  ${describeTry(each)}: ${this.seen.get(`${generation} ${n}`) ?? refused[n]}`,
    );
    const spot = this.wish.description.spot;
    return new Problem('NO_CAPACITY', `EC2 has no capacity for any of these:\n${lines.join('\n')}`, {
      next: `Try again later, or name more types${spot === true ? ', more subnets, or "spot": "or-on-demand"' : ' or subnets'}.`,
    });
  }
}

/** One for each try of each generation. */
export function tokenOf({ generation, n }: Pick<LaunchState, 'generation' | 'n'>): string {
  return `nx-ec2-${generation}-${n}`;
}

/** Which launch a client token is of; null: of none of ours. */
export function generationOf(token: string | null): string | null {
  return /^nx-ec2-([0-9a-f]{16})-\d+$/.exec(token ?? '')?.[1] ?? null;
}
