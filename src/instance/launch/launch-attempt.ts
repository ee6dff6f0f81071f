import type { RunInstancesCommandInput } from '@aws-sdk/client-ec2';
import { formatDuration } from '../../report/units';
import type { LaunchInputs } from './launch-inputs';
import { groupOf } from './placement';
import { tokenOf, type LaunchState } from './launch-journal';
import { launchParameters, lifetimeOf, times, timesOf } from './launch-parameters';
import { describeLaunchOption, type LaunchOption } from './launch-options';
import { describePrice, dollars, priceOf, type Price } from '../price/price';
import type { InstanceInfo } from '../describe/describe-instances';
import { endOf, readTags } from '../describe/tags';
import type { EnsureOptions } from './options';

/**
 * An older launch is not continued, ms: what it launched is found by its client token, and another generation launches
 * with a deadline and a price of its own time. A client that is still at work on it needs seconds for an option.
 */
export const MAX_RESUME_AGE_MS = 5 * 60_000;
/** Clocks of two machines differ by no more, ms. */
const MAX_CLOCK_SKEW_MS = 5 * 60_000;

/** What this command asks EC2 for, and what of it the tags say. */
export interface PricedRequest {
  price: Price | null;
  /** ms since the epoch; null: none. */
  deadline: number | null;
  parameters: RunInstancesCommandInput;
}

/** Builds the parameters of a launch attempt from the options, the image and prices: none of them is the journal's. */
export class LaunchAttempt {
  inputs!: LaunchInputs;
  /** The instances that are there already, and stay. */
  kept: InstanceInfo[] = [];
  private readonly count: number;
  private readonly min: number;
  private readonly prices = new Map<string, Promise<Price | null>>();
  /** By client token and option: EC2 is asked for the same again under the same token. */
  private readonly known = new Map<string, PricedRequest>();

  constructor(
    private readonly options: EnsureOptions,
    private readonly key: string,
  ) {
    this.count = options.count ?? 1;
    this.min = options.min ?? this.count;
  }

  /** @throws Problem where `maxCost` buys too little at the price of now, or the price is not known. */
  async terms(state: LaunchState): Promise<PricedRequest> {
    const option = state.launchOptions[state.n];
    const missing = { min: Math.max(1, this.min - state.kept.length), max: this.count - state.kept.length };
    const group = groupOf(state, this.kept);
    const name = `${tokenOf(state)} ${missing.min} ${missing.max} ${group} ${option.subnet} ${describeLaunchOption(option)}`;
    let terms = this.known.get(name);
    if (!terms) {
      const price = await this.price(option);
      const deadline = await this.deadline(price);
      const parameters = this.parameters(option, price, { deadline, missing, group });
      this.known.set(name, (terms = { price, deadline, parameters }));
    }
    return terms;
  }

  /** The instances of a capacity block end before EC2 terminates them. */
  private async deadline(price: Price | null): Promise<number | null> {
    const [deadline, until] = [await this.deadlineOfRun(price), this.inputs.reservation?.until ?? null];
    return until === null ? deadline : Math.min(deadline ?? Infinity, until);
  }

  private async deadlineOfRun(price: Price | null): Promise<number | null> {
    const { aws, by, launchSpec, deadline } = this.options;
    // What completes a set ends with it, so that `maxCost` holds for all.
    const ends = this.kept.flatMap(({ tags, launchedAt, state }) =>
      state.startsWith('stop') ? [] : (endOf(launchedAt, readTags(tags))?.at ?? []),
    );
    if (ends.length) return Math.min(...ends, deadline ?? Infinity);
    // A run that never has a second instance is bounded by its lifetime alone.
    if (by !== 'remote-train' || launchSpec.recovery === 'none') return null;
    return deadline ?? (await aws.now()) + lifetimeOf(launchSpec, price, this.count).lifetime * 1000;
  }

  private parameters(
    to: LaunchOption,
    price: Price | null,
    purpose: { deadline: number | null; missing: { min: number; max: number }; group: string },
  ): RunInstancesCommandInput {
    const { launchSpec, owner, store, prefix, root, by, run } = this.options;
    return launchParameters(launchSpec, to, this.inputs.images.get(to.type)!, price, {
      owner,
      key: this.key,
      store: `${store.bucket}/${prefix ?? ''}`,
      root: root ?? null,
      made: by,
      run: by === 'remote-train' ? (run ?? null) : null,
      awaitsRun: run !== undefined,
      count: this.count,
      efa: this.inputs.types.get(to.type)?.efa,
      reservation: this.inputs.reservation,
      ...purpose,
    });
  }

  private price(to: LaunchOption): Promise<Price | null> {
    const { aws, pricePerHour, printer } = this.options;
    // A capacity block is paid for already.
    if (this.inputs.reservation?.isBlock && pricePerHour === undefined) return Promise.resolve(null);
    const name = `${to.type} ${to.zone} ${to.market}`;
    let asking = this.prices.get(name);
    if (!asking) this.prices.set(name, (asking = priceOf(aws, to, pricePerHour, (text) => printer.detail(text))));
    return asking;
  }

  /** What is about to be launched, and what it may cost. */
  async describe(to: LaunchOption, { price, deadline, parameters }: PricedRequest): Promise<string> {
    const { aws, launchSpec } = this.options;
    const count = parameters.MaxCount!;
    const { lifetime } = lifetimeOf(launchSpec, price, this.count);
    const left = deadline === null ? Infinity : Math.round((deadline - (await aws.now())) / 1000);
    const limits = [left < lifetime ? `${formatDuration(left * 1000)} more` : formatDuration(lifetime * 1000)];
    if (launchSpec.idleTimeout !== false) limits.push(`${formatDuration(launchSpec.idleTimeout)} idle`);
    const most = price && dollars((count * price.perHour * Math.min(left, lifetime)) / 3600);
    const isPaid = this.inputs.reservation?.isBlock === true;
    const unknown = isPaid ? 'paid for in advance' : 'price unknown';
    const cost = price ? `${times(count)}${describePrice(price)}, at most ${most}` : unknown;
    const subject = count > 1 ? 'they shut' : 'it shuts';
    const what = `${timesOf(parameters)}${describeLaunchOption(to)}`;
    return `Launching ${what}: ${cost}; ${subject} down after at most ${limits.join(', or ')}.`;
  }
}

/** Whether a launch was started within the last minutes, by the clock of the client that started it. */
export function isRecent(at: number): boolean {
  const age = Date.now() - at;
  return age >= -MAX_CLOCK_SKEW_MS && age <= MAX_RESUME_AGE_MS + MAX_CLOCK_SKEW_MS;
}
