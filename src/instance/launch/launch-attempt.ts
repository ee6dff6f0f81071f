import type { RunInstancesCommandInput } from '@aws-sdk/client-ec2';
import { formatDuration } from '../../report/units';
import { callerIdentity } from '../../workspace/identity';
import type { Image } from './image';
import type { LaunchState } from './launch-journal';
import { launchParameters, lifetimeOf, parametersHash } from './launch-parameters';
import { describeLaunchOption, type LaunchOption } from './launch-options';
import { describePrice, dollars, priceOf, priceTag, readPriceTag, type Price } from '../price/price';
import type { EnsureOptions } from './options';

/** A launch that nobody went on with for so long is begun anew, ms; EC2 need not know its token by then. */
export const STALE_LAUNCH_MS = 24 * 3600_000;
/** Clocks of two machines differ by no more, ms. */
const MAX_CLOCK_SKEW_MS = 5 * 60_000;

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
    const terms = { ...priced, deadline: this.deadline(priced, price) };
    return { ...terms, parameters: parametersHash(this.parameters(terms)) };
  }

  private deadline({ at, launchedBy }: LaunchState, price: Price | null): number | null {
    // A run that never has a second instance is bounded by its lifetime alone.
    if (launchedBy === 'remote-up' || this.options.description.recovery === 'none') return null;
    return this.options.deadline ?? at + lifetimeOf(this.options.description, price).lifetime * 1000;
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
   * The parameters of the try that is under way, if they are still those that it was begun with. Whoever may write to
   * the store may have written it: nothing of it is taken that this side would not ask for itself.
   */
  async sameParameters(state: LaunchState): Promise<RunInstancesCommandInput | null> {
    const { by, owner, description } = this.options;
    const to = state.launchOptions[state.n];
    const price = state.price === null ? null : readPriceTag(state.price);
    const age = Date.now() - state.at;
    if (state.launchedBy !== by || callerIdentity(state.by) !== callerIdentity(owner.caller)) return null;
    if (
      (price === null) !== (state.price === null) ||
      age < -MAX_CLOCK_SKEW_MS ||
      age > STALE_LAUNCH_MS + MAX_CLOCK_SKEW_MS
    )
      return null;
    // A price that is far too low would make a lifetime that is far too long.
    const now = price && (await this.price(to));
    if (price && now && price.perHour < now.perHour / 2) return null;
    if (description.maxCost !== undefined && !price) return null;
    if (state.deadline !== this.deadline(state, price)) return null;
    const parameters = this.parameters(state);
    return parametersHash(parameters) === state.parameters ? parameters : null;
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
