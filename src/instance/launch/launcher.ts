import { randomBytes } from 'node:crypto';
import { sleep } from '../../system/sleep';
import { steadyNow } from '../../system/moment';
import { Problem } from '../../report/problem';
import { nxRun } from '../../report/shell-words';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { assertProfile } from './assert-profile';
import { imagesOf } from './image';
import { generationOf, LaunchJournal, tokenOf, type LaunchState, type StoredLaunch } from './launch-journal';
import { isRecent, LaunchAttempt, MAX_RESUME_AGE_MS } from './launch-attempt';
import {
  isAlive,
  findByClientToken,
  describeInstance,
  listOwnedInstances,
  type InstanceInfo,
} from '../describe/describe-instances';
import { machineTypes } from './machine-type';
import { TAG } from '../describe/ownership';
import { describeLaunchOption, isSameLaunchOption, placements, type LaunchOption } from './launch-options';
import { CAPACITY_ERRORS, runInstances } from './run-instances';
import { isRefusal, requiredTagsOf, mismatch } from '../stop/required-tags';
import { managedInstance, NEW_INSTANCE_LAG_MS } from '../stop/managed';
import { cancelOpenRequests, terminate } from '../stop/terminate';
import type { EnsureOptions, LaunchTimeouts } from './options';

export const LAUNCH_TIMEOUTS: LaunchTimeouts = { profile: 60_000, trouble: 120_000, sure: 30_000, others: 300_000 };
const LAUNCH_RETRY_MS = 1_000;
/** Times that an instance is written down against others who write. */
const MAX_COMMIT_ATTEMPTS = 20;
/** Instances that this process gives up because others write to the journal, each of which costs a minute at least. */
const MAX_GIVEN_UP = 3;

/** The launch of one instance. It continues where a process that was killed left off: docs/reference/formats.md, "Launch". */
export class Launch {
  private readonly journal: LaunchJournal;
  private readonly attempt: LaunchAttempt;
  private launchOptions: LaunchOption[] = [];
  /** What became of tries that this process has seen, in words. */
  private readonly seen = new Map<string, string>();
  /** Those that others have seen, and that this process has said it skips. */
  private readonly skipped = new Set<string>();
  private said = '';
  /** The one that this process began last. */
  private generation = '';
  /** When EC2 last answered something new. */
  private progress = steadyNow();
  private readonly answered = new Set<string>();
  /** Ids of instances that this process has launched, and terminated since others wrote to the journal. */
  private readonly givenUp: string[] = [];
  private readonly etags = new Set<string>();

  constructor(
    private readonly options: EnsureOptions,
    private readonly key: string,
    private readonly timeouts: LaunchTimeouts,
  ) {
    this.journal = new LaunchJournal(options.store, options.keys, key);
    this.attempt = new LaunchAttempt(options, key);
  }

  /** @throws Problem NO_CAPACITY where every try was refused; others for what no other try would mend. */
  async run(): Promise<{ how: 'launched' | 'found'; instance: InstanceInfo }> {
    const { aws, launchSpec, signal } = this.options;
    await assertProfile(aws, launchSpec, signal);
    const types = await machineTypes(aws, launchSpec.types, signal);
    const [images, launchOptions] = await Promise.all([
      imagesOf(aws, launchSpec.ami, types, signal),
      placements(aws, launchSpec, signal),
    ]);
    this.attempt.images = images;
    this.launchOptions = launchOptions;
    for (let absent = 0; absent < 5;) {
      signal?.throwIfAborted();
      const stored = await this.journal.read(signal);
      if (!stored) absent++;
      else this.etags.add(stored.etag);
      if (this.givenUp.length > MAX_GIVEN_UP || steadyNow() - this.progress > this.timeouts.others)
        throw this.contested();
      const done = stored?.state ? await this.resume(stored, stored.state) : null;
      if (done && done !== 'anew') return done;
      if (!stored || !stored.state || done === 'anew') await this.start(stored?.etag ?? null);
    }
    throw new Problem('LAUNCH_STATE', 'The launch state can be written to the store but not read back.', {
      next: 'The caller needs s3:GetObject there: attach the CallerPolicy of nx g nx-ec2:aws-setup.',
    });
  }

  /** Begins another generation, unless somebody else has. */
  private async start(etag: string | null): Promise<void> {
    this.generation = randomBytes(8).toString('hex');
    const state: LaunchState = {
      v: 1,
      generation: this.generation,
      at: Date.now(),
      launchOptions: this.launchOptions,
      n: 0,
      refused: [],
      instance: null,
    };
    // Nothing is written where the launch would fail for its price.
    await this.attempt.terms(state);
    await this.journal.write(state, etag);
  }

  /** One step on from what is written down; null: look again. */
  private async resume(
    { etag, age }: StoredLaunch,
    state: LaunchState,
  ): Promise<{ how: 'launched' | 'found'; instance: InstanceInfo } | 'anew' | null> {
    const { aws, printer, signal } = this.options;
    if (state.instance !== null) {
      const instance = await describeInstance(aws, state.instance, signal);
      if (instance && isAlive(instance) && this.isOurs(instance)) return { how: 'found', instance };
      return !instance && age < this.timeouts.sure ? this.waitForEc2Consistency() : 'anew';
    }
    const isCurrent = this.isCurrent(state, age) && this.wereRefused(state);
    if (state.n >= state.launchOptions.length) {
      if (this.seen.size && isCurrent) throw this.exhausted(state);
      return 'anew';
    }
    if (!isCurrent) return this.findLaunched(state, etag, age);
    const earlier = state.n > 0 ? await this.findEarlier(state) : null;
    if (earlier) return (await this.commit(earlier, state, etag)) ? { how: 'found', instance: earlier } : null;
    const option = state.launchOptions[state.n];
    const terms = await this.attempt.terms(state);
    this.reportSkipped(state);
    const what = describeLaunchOption(option);
    this.report(await this.attempt.describe(option, terms));
    const answer = await runInstances(aws, {
      parameters: terms.parameters,
      token: tokenOf(state),
      what,
      timeouts: this.timeouts,
      onWait: (text) => printer.line(text),
      signal,
    });
    if ('other' in answer) return this.findLaunched(state, etag, age);
    if ('refused' in answer) {
      printer.line(`${what}: ${answer.refused}`);
      if (!this.answered.has(what)) this.progress = steadyNow();
      this.answered.add(what);
      this.seen.set(`${state.generation} ${state.n}`, `${answer.refused}: ${answer.message}`);
      await this.moveToNextOption(state, etag, answer.refused);
      return null;
    }
    if ('ended' in answer) return 'anew';
    return (await this.commit(answer.instance, state, etag)) ? { how: 'launched', instance: answer.instance } : null;
  }

  /**
   * Finds what another command has launched under the token of the option that is being tried, which it asked for with
   * parameters of its own. It is waited for until EC2 must know of it.
   */
  private async findLaunched(state: LaunchState, etag: string, age: number) {
    const [instance] = await findByClientToken(this.options.aws, tokenOf(state), this.options.signal);
    if (instance && this.isOurs(instance))
      return (await this.commit(instance, state, etag)) ? { how: 'found' as const, instance } : null;
    return age < this.timeouts.sure ? this.waitForEc2Consistency() : 'anew';
  }

  /**
   * What an option before the one that is reached has launched. The journal says that all of them were refused, but
   * anybody may have written it who can write to the bucket.
   */
  private async findEarlier({ generation }: LaunchState): Promise<InstanceInfo | null> {
    const { aws, owner, signal } = this.options;
    const own = await listOwnedInstances(aws, owner, signal);
    return own.find((each) => generationOf(each.clientToken) === generation && this.isOurs(each)) ?? null;
  }

  private async waitForEc2Consistency(): Promise<null> {
    this.report('Another command is launching an instance; waiting for its result.');
    await sleep(LAUNCH_RETRY_MS, this.options.signal);
    return null;
  }

  /**
   * Whether a launch is of the last minutes. Capacity that was refused is refused for minutes: "wait a few minutes and
   * submit your request again" (EC2 user guide, InsufficientInstanceCapacity). What was refused before that is tried
   * again. The launch of this process itself may have many options, and take longer.
   */
  private isCurrent({ generation, at }: LaunchState, age: number): boolean {
    return generation === this.generation || (age < MAX_RESUME_AGE_MS && isRecent(at));
  }

  /** Whether all was refused that this command tries before the option that a launch has reached, and that is offered. */
  private wereRefused({ launchOptions, n, refused }: LaunchState): boolean {
    const reached = n < launchOptions.length ? this.placeOf(launchOptions[n]) : this.launchOptions.length;
    if (reached < 0) return false;
    const tried = launchOptions.slice(0, n).filter((_, m) => CAPACITY_ERRORS.has(refused[m]));
    return this.launchOptions.slice(0, reached).every((each) => tried.some((other) => isSameLaunchOption(each, other)));
  }

  /** What is not tried since another command was refused it. */
  private reportSkipped({ generation, launchOptions, n, refused }: LaunchState): void {
    const skipped = launchOptions.slice(0, n).flatMap((each, m) => {
      const name = `${generation} ${m}`;
      if (this.seen.has(name) || this.skipped.has(name)) return [];
      this.skipped.add(name);
      return [`${describeLaunchOption(each)} (${refused[m]})`];
    });
    if (skipped.length)
      this.options.printer.line(
        `EC2 refused another command some minutes ago, so these are not tried: ${skipped.join(', ')}.`,
      );
  }

  private placeOf(option: LaunchOption): number {
    return this.launchOptions.findIndex((each) => isSameLaunchOption(each, option));
  }

  private isOffered(to: LaunchOption): boolean {
    return this.placeOf(to) >= 0;
  }

  /** Not twice in a row. */
  private report(text: string): void {
    if (this.said !== text) this.options.printer.line((this.said = text));
  }

  private isOurs({ tags }: InstanceInfo): boolean {
    return tags[TAG.key] === this.key && mismatch(tags, requiredTagsOf(this.options)) === null;
  }

  /** Whether EC2 lists an instance of this launch spec that is older. Of two clients, only one has the older instance. */
  private async hasOlder({ id, launchedAt }: InstanceInfo): Promise<boolean> {
    const { aws, owner, signal } = this.options;
    const own = await listOwnedInstances(aws, owner, signal);
    return own.some(
      (each) => this.isOurs(each) && (each.launchedAt - launchedAt || Number(each.id > id) - Number(each.id < id)) < 0,
    );
  }

  /**
   * Writes down which instance the launch has. Where the journal names another one, or another launch has begun, EC2 is
   * asked: anybody may have written that who writes to the bucket. This instance is a duplicate, and is terminated, if
   * the one that is named is one of ours and lives, or if an older one lives.
   * @returns whether the launch has this one.
   */
  private async commit(instance: InstanceInfo, state: LaunchState, etag: string): Promise<boolean> {
    const { aws, signal } = this.options;
    let at: string | null = etag;
    const began = steadyNow();
    // An instance that can't be written down for others who write is found by its tags.
    for (let launchOptions = 0; launchOptions < MAX_COMMIT_ATTEMPTS;) {
      if ((await this.journal.write({ ...state, instance: instance.id }, at)) !== null) return true;
      const now: StoredLaunch | null = await this.journal.read();
      const named = now?.state?.instance ?? null;
      if (named === instance.id) return true;
      const other = named === null ? null : await describeInstance(aws, named, signal);
      // Once: whoever writes another id again and again must not keep this instance waiting.
      const isDoubtful = now !== null && now.age < this.timeouts.sure && steadyNow() - began < this.timeouts.sure;
      if (named !== null && !other && isDoubtful) {
        await this.waitForEc2Consistency();
        continue;
      }
      const restarted = named === null && now?.state && now.state.generation !== state.generation;
      if (restarted ? await this.hasOlder(instance) : other && isAlive(other) && this.isOurs(other)) {
        await this.terminateDuplicate(instance);
        return false;
      }
      at = now?.etag ?? null;
      launchOptions++;
    }
    return true;
  }

  private async terminateDuplicate({ id }: InstanceInfo): Promise<void> {
    const { aws, printer } = this.options;
    try {
      const duplicate = await managedInstance(aws, id, requiredTagsOf(this.options), { unseen: NEW_INSTANCE_LAG_MS });
      if (!duplicate) return;
      printer.line(`Terminating ${id}: another client launched an instance first.`);
      this.givenUp.push(id);
      await terminate(aws, duplicate, printer);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      printer.warn(error.message);
    }
  }

  /** Goes on to the next try, unless somebody else has. */
  private async moveToNextOption(state: LaunchState, etag: string, code: string): Promise<void> {
    const next: LaunchState = { ...state, n: state.n + 1, refused: [...state.refused, code] };
    while (next.n < next.launchOptions.length && !this.isOffered(next.launchOptions[next.n])) {
      next.n++;
      next.refused.push('NotOffered');
    }
    const market = next.launchOptions[next.n]?.market;
    if (state.launchOptions[state.n].market === 'spot' && market !== 'spot')
      await cancelOpenRequests(this.options.aws, this.key, requiredTagsOf(this.options), this.options.printer);
    if (market) await this.attempt.terms(next);
    await this.journal.write(next, etag);
  }

  private contested(): Problem {
    const { project } = this.options.owner;
    const given = this.givenUp.length
      ? `This command terminated what it had launched: ${this.givenUp.join(', ')}.`
      : 'This command has launched nothing.';
    return new Problem(
      'LAUNCH_STATE',
      `The launch journal ${this.journal.key} was changed again and again (${this.etags.size} times), but EC2 lists no instance that was launched by it. ${given}`,
      {
        next: `Another command is launching an instance of ${sanitizeForTerminal(project)}, or somebody else writes to the bucket. To see all instances: npx nx-ec2 instances list. To terminate those of the project: ${nxRun(project, 'remote-down')}. Then run this command again.`,
      },
    );
  }

  private exhausted({ generation, launchOptions, refused }: LaunchState): Problem {
    const lines = launchOptions.map(
      (each, n) => `  ${describeLaunchOption(each)}: ${this.seen.get(`${generation} ${n}`) ?? refused[n]}`,
    );
    const spot = this.options.launchSpec.spot;
    return new Problem('NO_CAPACITY', `EC2 has no capacity for any of these:\n${lines.join('\n')}`, {
      next: `Try again later, or name more types${spot === true ? ', more subnets, or "spot": "or-on-demand"' : ' or subnets'}.`,
    });
  }
}
