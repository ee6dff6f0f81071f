import type { RunInstancesCommandInput } from '@aws-sdk/client-ec2';
import type { Problem } from '../../report/problem';
import { formatDuration } from '../../report/units';
import { callerIdentity } from '../../workspace/identity';
import type { Image } from './image';
import type { LaunchState } from './launch-journal';
import { launchParameters, lifetimeOf, parametersHash } from './launch-parameters';
import { describeLaunchOption, type LaunchOption } from './launch-options';
import { describePrice, dollars, priceOf, priceTag, readPriceTag, type Price } from '../price/price';
import type { EnsureOptions } from './options';

/**
 * An older launch is not continued, ms: what it launched is found by its client token, and another generation launches
 * with a deadline and a price of its own time. A client that is still at work on it needs seconds for an option.
 */
export const MAX_RESUME_AGE_MS = 5 * 60_000;
/** Clocks of two machines differ by no more, ms. */
const MAX_CLOCK_SKEW_MS = 5 * 60_000;
/** A spot price moves slowly: one that differs more than this from the price of now is not of the last minutes. */
const MAX_PRICE_RATIO = 2;

/** Builds the parameters of a launch attempt from the options, the image and the launch journal. */
export class LaunchAttempt {
  /** By their types. */
  images = new Map<string, Image>();
  private readonly prices = new Map<string, Promise<Price | null>>();

  constructor(
    private readonly options: EnsureOptions,
    private readonly key: string,
  ) {}

  /** What the try that is under way is made of: its price now, how long it may live by that, its parameters' hash. */
  async of(state: LaunchState): Promise<LaunchState> {
    const price = await this.price(state.launchOptions[state.n]);
    const priced = { ...state, price: price && priceTag(price) };
    const terms = { ...priced, deadline: this.deadline(price) };
    return { ...terms, parameters: parametersHash(this.parameters(terms)) };
  }

  private deadline(price: Price | null): number | null {
    if (!this.hasDeadline) return null;
    return this.options.deadline ?? Date.now() + lifetimeOf(this.options.description, price).lifetime * 1000;
  }

  /** A run that never has a second instance is bounded by its lifetime alone. */
  private get hasDeadline(): boolean {
    const { by, description } = this.options;
    return by === 'remote-train' && description.recovery !== 'none';
  }

  private parameters(state: LaunchState): RunInstancesCommandInput {
    const { description, owner, store, prefix, root } = this.options;
    const to = state.launchOptions[state.n];
    return launchParameters(
      description,
      to,
      this.images.get(to.type)!,
      state.price ? readPriceTag(state.price) : null,
      {
        owner: { ...owner, caller: state.by },
        key: this.key,
        store: `${store.bucket}/${prefix ?? ''}`,
        root: root ?? null,
        made: state.launchedBy,
        run: state.run,
        deadline: state.deadline,
      },
    );
  }

  /**
   * The parameters of the option that is being tried, if they are still those that it was begun with. Whoever may write
   * to the store may have written it: nothing of it is taken that this side would not ask for itself now.
   */
  async sameParameters(state: LaunchState): Promise<RunInstancesCommandInput | null> {
    const { by, owner, description } = this.options;
    if (state.launchedBy !== by || callerIdentity(state.by) !== callerIdentity(owner.caller)) return null;
    const price = state.price === null ? null : readPriceTag(state.price);
    if ((price === null) !== (state.price === null)) return null;
    if (!isSamePrice(price, await this.price(state.launchOptions[state.n]))) return null;
    if (description.maxCost !== undefined && !price) return null;
    try {
      if (!this.isPlausibleDeadline(state.deadline, price)) return null;
      const parameters = this.parameters(state);
      return parametersHash(parameters) === state.parameters ? parameters : null;
    } catch (error) {
      // Only the price of now decides that "maxCost" buys too little: the next generation asks for it.
      if ((error as Problem).code === 'MAX_COST') return null;
      throw error;
    }
  }

  /** Whether a deadline is the one that this command would set now, or a few minutes ago. */
  private isPlausibleDeadline(deadline: number | null, price: Price | null): boolean {
    if (deadline === null || !this.hasDeadline) return deadline === null && !this.hasDeadline;
    if (this.options.deadline !== undefined) return deadline === this.options.deadline;
    const whole = lifetimeOf(this.options.description, price).lifetime * 1000;
    const left = deadline - Date.now();
    // Half of a short lifetime passes within minutes, too: an instance that ends before it has trained is of no use.
    return (
      left <= whole + MAX_CLOCK_SKEW_MS && left >= Math.max(whole / 2, whole - MAX_RESUME_AGE_MS - MAX_CLOCK_SKEW_MS)
    );
  }

  private price(to: LaunchOption): Promise<Price | null> {
    const { aws, pricePerHour, reporter } = this.options;
    const name = `${to.type} ${to.zone} ${to.market}`;
    let asking = this.prices.get(name);
    if (!asking) this.prices.set(name, (asking = priceOf(aws, to, pricePerHour, (text) => reporter.detail(text))));
    return asking;
  }

  /** What is about to be launched, and what it may cost. */
  describe(state: LaunchState): string {
    const { description } = this.options;
    const price = state.price === null ? null : readPriceTag(state.price);
    const { lifetime } = lifetimeOf(description, price);
    const left = state.deadline === null ? Infinity : Math.round((state.deadline - Date.now()) / 1000);
    const limits = [left < lifetime ? `${formatDuration(left * 1000)} more` : formatDuration(lifetime * 1000)];
    if (description.idleTimeout !== false) limits.push(`${formatDuration(description.idleTimeout)} idle`);
    const most = price && dollars((price.perHour * Math.min(left, lifetime)) / 3600);
    const cost = price ? `${describePrice(price)}, at most ${most}` : 'price unknown';
    return `Launching ${describeLaunchOption(state.launchOptions[state.n])}: ${cost}; it shuts down after at most ${limits.join(', or ')}.`;
  }
}

/** Whether a launch was begun within the last minutes, by the clock of whoever began it. */
export function isRecent(at: number): boolean {
  const age = Date.now() - at;
  return age >= -MAX_CLOCK_SKEW_MS && age <= MAX_RESUME_AGE_MS + MAX_CLOCK_SKEW_MS;
}

/** Whether a price is about that of now: one that is too low lengthens the lifetime, one that is too high shortens it. */
function isSamePrice(price: Price | null, now: Price | null): boolean {
  if (!price || !now) return price === now;
  const ratio = price.perHour / now.perHour;
  return price.market === now.market && ratio <= MAX_PRICE_RATIO && ratio >= 1 / MAX_PRICE_RATIO;
}
