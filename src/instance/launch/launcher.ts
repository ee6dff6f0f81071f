import { randomBytes } from 'node:crypto';
import { sleep } from '../../system/sleep';
import { steadyNow } from '../../system/moment';
import { Problem } from '../../report/problem';
import { instancesList, nxRun } from '../../report/shell-words';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { generationOf, LaunchJournal, tokenOf, type LaunchState, type StoredLaunch } from './launch-journal';
import { isRecent, LaunchAttempt, MAX_RESUME_AGE_MS } from './launch-attempt';
import { LaunchCommit } from './commit-launch';
import { chooseSet, isSameSet, optionOf } from './instance-set';
import { timesOf } from './launch-parameters';
import { findByClientToken, describeInstances, isAlive, type InstanceInfo } from '../describe/describe-instances';
import { launchInputs } from './launch-inputs';
import { noCapacity } from './no-capacity';
import { nodeNetwork, unknownNetwork } from './node-network';
import { LaunchPlacement } from './placement';
import { assertRoom } from './reservation';
import { describeLaunchOption, isSameLaunchOption, type LaunchOption } from './launch-options';
import { CAPACITY_ERRORS, runInstances } from './run-instances';
import { requiredTagsOf } from '../stop/required-tags';
import { cancelOpenRequests } from '../stop/terminate';
import type { EnsureOptions, LaunchTimeouts } from './options';

export const LAUNCH_TIMEOUTS: LaunchTimeouts = {
  profile: 60_000,
  group: 30_000,
  trouble: 120_000,
  sure: 30_000,
  others: 300_000,
};
const LAUNCH_RETRY_MS = 1_000;
/** Launches that this process gives up because others write to the journal, each of which costs a minute at least. */
const MAX_GIVEN_UP = 3;

/** What a launch has led to: all the instances, those among them that were there before. */
export interface Launched {
  how: 'launched' | 'found';
  instances: InstanceInfo[];
  kept: ReadonlySet<string>;
}

/** The launch of one instance, or of several, all or none. It continues where a process that was killed left off: docs/reference/formats.md, "Launch". */
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
  private readonly count: number;
  /** The fewest that are enough. */
  private readonly min: number;
  private readonly commits: LaunchCommit;
  private readonly placement: LaunchPlacement;
  private readonly etags = new Set<string>();

  constructor(
    private readonly options: EnsureOptions,
    private readonly key: string,
    private readonly timeouts: LaunchTimeouts,
  ) {
    this.journal = new LaunchJournal(options.store, options.keys, key);
    this.attempt = new LaunchAttempt(options, key);
    this.placement = new LaunchPlacement(options);
    this.commits = new LaunchCommit(options, key, this.journal, timeouts, () => this.reportWait());
    this.count = options.count ?? 1;
    this.min = options.min ?? this.count;
  }

  /** @throws Problem NO_CAPACITY where every try was refused; others for what no other try would mend. */
  async run(): Promise<Launched> {
    const { aws, launchSpec, signal } = this.options;
    const inputs = await launchInputs(aws, launchSpec, signal);
    this.attempt.inputs = inputs;
    this.placement.use(inputs);
    this.launchOptions = await this.usable(inputs.options);
    for (let absent = 0; absent < 5;) {
      signal?.throwIfAborted();
      const stored = await this.journal.read(signal);
      if (!stored) absent++;
      else this.etags.add(stored.etag);
      if (this.commits.rounds > MAX_GIVEN_UP || steadyNow() - this.progress > this.timeouts.others)
        throw this.contested();
      const done = stored?.state ? await this.resume(stored, stored.state) : 'anew';
      const launched = done === 'anew' ? await this.start(stored?.etag ?? null) : done;
      if (launched) return launched;
    }
    throw new Problem('LAUNCH_STATE', 'The launch state can be written to the store but not read back.', {
      next: 'The caller needs s3:GetObject there: attach the CallerPolicy of nx g nx-ec2:aws-setup.',
    });
  }

  /** Those options of a launch of several instances whose subnet has an address for each. */
  private async usable(launchOptions: LaunchOption[]): Promise<LaunchOption[]> {
    const { aws, launchSpec, printer, signal } = this.options;
    if (this.count === 1 || (await this.living()).length) return launchOptions;
    const { options, full, unknown } = await nodeNetwork(aws, launchSpec, launchOptions, this.count, signal);
    if (full.length)
      printer.line(
        `These subnets have fewer than ${this.count} free addresses, and are not tried: ${full.join(', ')}.`,
      );
    if (unknown !== null) printer.warn(unknownNetwork(unknown));
    return options;
  }

  /** Begins another generation, unless somebody else has. @returns the instances where there are enough of them. */
  private async start(etag: string | null): Promise<Launched | null> {
    const living = await this.living();
    if (living.length >= this.min) return found(living);
    const { aws } = this.options;
    const { reservation } = this.attempt.inputs;
    if (reservation) assertRoom(reservation, this.min - living.length, await aws.now());
    this.attempt.kept = living;
    this.generation = randomBytes(8).toString('hex');
    const state: LaunchState = {
      v: 2,
      generation: this.generation,
      at: Date.now(),
      launchOptions: this.optionsBeside(living),
      n: 0,
      refused: [],
      kept: living.map(({ id }) => id),
      instances: [],
    };
    // Nothing is written where the launch would fail for its price.
    await this.attempt.terms(state);
    await this.journal.write(state, etag);
    return null;
  }

  /** One step on from what is written down; null: look again. */
  private async resume({ etag, age }: StoredLaunch, state: LaunchState): Promise<Launched | 'anew' | null> {
    const { aws, printer, signal } = this.options;
    if (state.instances.length) {
      const known = await describeInstances(aws, state.instances, signal);
      const living = chooseSet(this.alive(known), this.count);
      if (living.length >= this.min) return found(living);
      const isDoubtful = known.length < state.instances.length && age < this.timeouts.sure;
      return isDoubtful ? this.waitForEc2Consistency() : 'anew';
    }
    const kept = await this.living(state.generation);
    const isCurrent = this.isCurrent(state, age, kept) && this.wereRefused(state, kept);
    if (state.n >= state.launchOptions.length) {
      if (this.seen.size && isCurrent) throw noCapacity(this.options, state, this.seen);
      return 'anew';
    }
    if (!isCurrent) return this.findLaunched(state, etag, age);
    this.attempt.kept = kept;
    const earlier = state.n > 0 ? await this.findEarlier(state) : [];
    if (earlier.length) return this.complete('found', kept, earlier, state, etag);
    const option = state.launchOptions[state.n];
    const terms = await this.attempt.terms(state);
    this.reportSkipped(state);
    const what = `${timesOf(terms.parameters)}${describeLaunchOption(option)}`;
    this.report(await this.attempt.describe(option, terms));
    const answer =
      (await this.placement.create(terms.parameters, kept)) ??
      (await runInstances(aws, {
        parameters: terms.parameters,
        token: tokenOf(state),
        what,
        timeouts: this.timeouts,
        onWait: (text) => printer.line(text),
        signal,
      }));
    if ('other' in answer) return this.findLaunched(state, etag, age);
    if ('refused' in answer) {
      if (isOfPlacement(option, answer.refused)) this.placement.withdraw(answer);
      else printer.line(`${what}: ${answer.refused}`);
      if (!this.answered.has(what)) this.progress = steadyNow();
      this.answered.add(what);
      this.seen.set(`${state.generation} ${state.n}`, `${answer.refused}: ${answer.message}`);
      await this.moveToNextOption(state, etag, answer.refused);
      return null;
    }
    if ('ended' in answer) {
      await this.untilListed(answer.ended);
      return 'anew';
    }
    return this.complete('launched', kept, answer.instances, state, etag);
  }

  /** Writes down what a launch has; null: it has others. 'anew': some of them have ended. */
  private async complete(
    how: Launched['how'],
    kept: InstanceInfo[],
    launched: InstanceInfo[],
    state: LaunchState,
    etag: string,
  ): Promise<Launched | 'anew' | null> {
    const instances = [...kept, ...launched];
    if (instances.length < this.min) return 'anew';
    if (!(await this.commits.commit(launched, state, etag))) return null;
    return { how, instances, kept: new Set(state.kept) };
  }

  /**
   * Finds what another command has launched under the token of the option that is being tried, which it asked for with
   * parameters of its own. It is waited for until EC2 must know of it.
   */
  private async findLaunched(state: LaunchState, etag: string, age: number) {
    const launched = this.alive(await findByClientToken(this.options.aws, tokenOf(state), this.options.signal));
    const kept = (await this.living(state.generation)).filter(({ id }) => state.kept.includes(id));
    if (launched.length && kept.length + launched.length >= this.min)
      return this.complete('found', kept, launched, state, etag);
    return age < this.timeouts.sure ? this.waitForEc2Consistency() : 'anew';
  }

  /**
   * What an option before the one that is reached has launched. The journal says that all of them were refused, but
   * anybody may have written it who can write to the bucket.
   */
  private async findEarlier({ generation }: LaunchState): Promise<InstanceInfo[]> {
    const ours = await this.commits.listOurs();
    return chooseSet(
      ours.filter((each) => generationOf(each.clientToken) === generation),
      this.count,
    );
  }

  /**
   * Those of several instances that are there, and that a launch completes: of one instance there are none.
   * @param generation a launch whose own do not count.
   */
  private async living(generation?: string): Promise<InstanceInfo[]> {
    if (this.count === 1) return [];
    const ours = (await this.commits.listOurs()).filter(
      ({ type, clientToken }) =>
        this.attempt.inputs.images.has(type) && (generation === undefined || generationOf(clientToken) !== generation),
    );
    return chooseSet(ours, this.count);
  }

  private alive(instances: InstanceInfo[]): InstanceInfo[] {
    return instances.filter((each) => isAlive(each) && this.commits.isOurs(each));
  }

  /** Beside instances that are there, others are launched in their subnet alone. */
  private optionsBeside(kept: InstanceInfo[]): LaunchOption[] {
    return this.placement.optionsOf(kept.length ? [optionOf(kept[0])] : this.launchOptions, kept);
  }

  /** Waits until EC2's lists have these, which another launch is to complete. */
  private async untilListed(alive: InstanceInfo[]): Promise<void> {
    const { aws, signal } = this.options;
    const ids = alive.map(({ id }) => id);
    const until = steadyNow() + this.timeouts.sure;
    while (ids.length && steadyNow() < until) {
      if ((await describeInstances(aws, ids, signal)).length === ids.length) return;
      await sleep(LAUNCH_RETRY_MS, signal);
    }
  }

  private async waitForEc2Consistency(): Promise<null> {
    this.reportWait();
    await sleep(LAUNCH_RETRY_MS, this.options.signal);
    return null;
  }

  /**
   * Whether a launch is of the last minutes. Capacity that was refused is refused for minutes: "wait a few minutes and
   * submit your request again" (EC2 user guide, InsufficientInstanceCapacity). What was refused before that is tried
   * again. The launch of this process itself may have many options, and take longer. One that completes other instances
   * than EC2 lists would launch too few or too many.
   */
  private isCurrent({ generation, at, kept }: LaunchState, age: number, living: InstanceInfo[]): boolean {
    const sees = living.map(({ id }) => id);
    return isSameSet(kept, sees) && (generation === this.generation || (age < MAX_RESUME_AGE_MS && isRecent(at)));
  }

  /** Whether all was refused that this command tries before the option that a launch has reached, and that is offered. */
  private wereRefused({ launchOptions, n, refused }: LaunchState, kept: InstanceInfo[]): boolean {
    const options = this.optionsBeside(kept);
    const reached =
      n < launchOptions.length
        ? options.findIndex((each) => isSameLaunchOption(each, launchOptions[n]))
        : options.length;
    if (reached < 0) return false;
    const tried = launchOptions.slice(0, n).filter((_, m) => CAPACITY_ERRORS.has(refused[m]));
    return options.slice(0, reached).every((each) => tried.some((other) => isSameLaunchOption(each, other)));
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

  private isOffered(to: LaunchOption): boolean {
    return this.placement.optionsOf(this.launchOptions).some((each) => isSameLaunchOption(each, to));
  }

  private reportWait(): void {
    const what = this.count > 1 ? 'instances' : 'an instance';
    this.report(`Another command is launching ${what}; waiting for its result.`);
  }

  /** Not twice in a row. */
  private report(text: string): void {
    if (this.said !== text) this.options.printer.line((this.said = text));
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
    const given = this.commits.givenUp.length
      ? `This command terminated what it had launched: ${this.commits.givenUp.join(', ')}.`
      : 'This command has launched nothing.';
    return new Problem(
      'LAUNCH_STATE',
      `The launch journal ${this.journal.key} was changed again and again (${this.etags.size} times), but EC2 lists no instance that was launched by it. ${given}`,
      {
        next: `Another command is launching an instance of ${sanitizeForTerminal(project)}, or somebody else writes to the bucket. To see all instances: ${instancesList()}\nTo terminate those of the project: ${nxRun(project, 'remote-down')}\nThen run this command again.`,
      },
    );
  }
}

/** Whether EC2 refuses the placement group, and not the capacity in it. */
function isOfPlacement({ placement }: LaunchOption, code: string): boolean {
  return placement !== undefined && !CAPACITY_ERRORS.has(code);
}

function found(instances: InstanceInfo[]): Launched {
  return { how: 'found', instances, kept: new Set() };
}
