import type { Identity } from '../../protocol/identity';
import type { Instances, LocalInstance } from '../../instance/instances';
import { Timers } from '../../instance/timers';
import { KeptJson } from '../../state/kept-json';
import type { Market } from '../launch/capacity';
import type { Site } from '../launch/allocation';
import type { CheckedLaunch } from '../launch/checked-launch';
import type { Fleet, MarketOptions, Pool } from './fleet';
import { note } from './fleet-history';
import type { Launcher } from '../launch/launcher';
import { overSpec } from '../request/launch-specification';
import type { LaunchTemplates } from '../templates/launch-templates';
import { byUser, initiated } from '../instances/reason';
import { AwsError } from '../../protocol/aws-error';

/** From an instance's end to the try to replace it, and between two tries, ms. */
const REPLACE_DELAY_MS = 100;
const REPLACE_RETRY_MS = 500;

/** Its zone does not offer the type, or its placement group is in another zone. */
const POOL_ERRORS = ['Unsupported', 'InvalidPlacementGroup.InUse'];

interface FleetSite extends Site {
  /** Its number. */
  pool: number;
}

const MARKETS: Market[] = ['on-demand', 'spot'];

/** Fleets: an instant one launches once; one that is maintained replaces what ends, until it ends itself. */
export class Fleets {
  private readonly kept: KeptJson<Fleet>;
  private readonly refills = new Timers();
  private readonly ends = new Timers();

  constructor(
    file: string,
    private readonly instances: Instances,
    private readonly launcher: Launcher,
    private readonly templates: LaunchTemplates,
  ) {
    this.kept = new KeptJson(file);
    instances.watchers.push(({ fleet }, event) => {
      if (fleet !== undefined && event === 'terminated') this.refill(fleet, REPLACE_DELAY_MS);
    });
    for (const fleet of this.all()) this.keep(fleet, REPLACE_RETRY_MS);
  }

  all(): Fleet[] {
    return this.kept.all();
  }

  get(id: string): Fleet | undefined {
    return this.kept.get(id);
  }

  save(fleet: Fleet): void {
    this.kept.set(fleet.id, fleet);
  }

  close(): void {
    this.refills.close();
    this.ends.close();
  }

  /** Its instances that are not terminated. */
  living(fleet: Fleet): LocalInstance[] {
    return this.instances.all().filter((each) => each.fleet === fleet.id && each.state !== 'terminated');
  }

  /** @throws AwsError where a template is missing or a permission: a lack of capacity is none of its errors. */
  create(fleet: Fleet, caller: Identity | null): void {
    for (const market of MARKETS)
      if (fleet.target[market] > 0) for (const pool of fleet.pools) this.checkPool(fleet, pool, market, caller);
    note(fleet, { type: 'fleet-change', subType: 'active', description: 'The fleet is active' });
    this.save(fleet);
    this.fill(fleet);
    this.keep(fleet, REPLACE_RETRY_MS);
  }

  /** It replaces nothing any more. */
  delete(fleet: Fleet, terminate: boolean): void {
    fleet.state = terminate ? 'deleted_terminating' : 'deleted_running';
    note(fleet, { type: 'fleet-change', subType: fleet.state, description: 'The fleet was deleted' });
    this.end(fleet, terminate ? byUser() : undefined);
  }

  private keep(fleet: Fleet, inMs: number): void {
    if (fleet.type !== 'maintain' || fleet.state !== 'active') return;
    if (fleet.validUntil !== undefined) this.ends.at(fleet.id, fleet.validUntil, () => this.expire(fleet));
    this.refill(fleet.id, inMs);
  }

  private expire(fleet: Fleet): void {
    fleet.state = fleet.terminateAtEnd ? 'deleted_terminating' : 'deleted_running';
    const code = 'Server.ScheduledStop';
    const reason = { code, message: `${code}: The fleet has expired`, transition: initiated('Service') };
    this.end(fleet, fleet.terminateAtEnd ? reason : undefined);
  }

  private end(fleet: Fleet, reason: LocalInstance['reason']): void {
    this.save(fleet);
    this.refills.clear(fleet.id);
    this.ends.clear(fleet.id);
    if (reason) for (const each of this.living(fleet)) this.instances.change(each, 'terminated', reason);
  }

  private refill(id: string, inMs: number): void {
    this.refills.at(id, Date.now() + inMs, () => {
      const fleet = this.get(id);
      if (fleet?.type !== 'maintain' || fleet.state !== 'active') return;
      if (!this.fill(fleet)) this.refill(id, REPLACE_RETRY_MS);
    });
  }

  /** Launches what it lacks, from the first of its pools that has it. @returns whether it lacks nothing now. */
  private fill(fleet: Fleet): boolean {
    if (fleet.type === 'maintain') fleet.errors = [];
    let filled = true;
    for (const market of MARKETS) {
      const there = this.living(fleet).filter(({ spotRequest }) => (spotRequest !== undefined) === (market === 'spot'));
      const missing = fleet.target[market] - there.length;
      if (missing > 0 && !this.launch(fleet, market, missing)) filled = false;
    }
    this.save(fleet);
    return filled;
  }

  /** @returns whether there is all that was wanted. */
  private launch(fleet: Fleet, market: Market, count: number): boolean {
    const sites = fleet.pools.flatMap((_, pool) => this.sites(fleet, pool, market));
    const options = fleet.options[market];
    const { launches, refusals } = this.launcher.allocate(groupSites(sites, options), {
      min: options.min ?? 1,
      max: count,
    });
    for (const { site, count: given } of launches)
      for (const { id } of this.launcher.launchAt(site, given, { fleet: fleet.id })) {
        const { pool, checked } = site;
        fleet.launched.push({ instance: id, pool, market });
        note(fleet, { type: 'instance-change', subType: 'launched', description: checked.type.name, instance: id });
      }
    const launched = (pool: number) => sum(launches.filter(({ site }) => site.pool === pool));
    const short = new Map(refusals.map(({ site: { pool }, error }) => [pool, error]));
    for (const [pool, error] of short) if (launched(pool) < count) this.refuse(fleet, pool, market, error);
    return sum(launches) === count;
  }

  /** A pool in each zone that it can be in. */
  private sites(fleet: Fleet, pool: number, market: Market): FleetSite[] {
    try {
      const checked = this.check(fleet, fleet.pools[pool], market, null);
      return checked.zones.map(({ name }) => ({ pool, checked, zone: name }));
    } catch (error) {
      if (!(error instanceof AwsError)) throw error;
      // A spot fleet has another word for a type that the zone does not offer.
      const isOther = market === 'spot' && error.code === 'Unsupported';
      this.refuse(fleet, pool, market, isOther ? new AwsError('InvalidFleetConfiguration', error.message) : error);
      return [];
    }
  }

  private refuse(fleet: Fleet, pool: number, market: Market, { code, message }: AwsError): void {
    fleet.errors.push({ pool, market, code, message });
    note(fleet, { type: 'service-error', subType: code, description: message });
  }

  /** What only one pool can't have is no error of the fleet. */
  private checkPool(fleet: Fleet, pool: Pool, market: Market, caller: Identity | null): void {
    try {
      this.check(fleet, pool, market, caller);
    } catch (error) {
      if (!(error instanceof AwsError) || !POOL_ERRORS.includes(error.code)) throw error;
    }
  }

  /** As EC2, by its template as it is now: a fleet whose template is gone launches nothing. */
  private check(fleet: Fleet, pool: Pool, market: Market, caller: Identity | null): CheckedLaunch {
    const template = this.templates.spec(pool.template);
    const { type, subnet, zone, image, placementGroup } = pool;
    const spec = overSpec({ type, subnet, zone, image, placementGroup }, template);
    const instance = { ...template.tags?.instance, ...fleet.instanceTags };
    return this.launcher.check(
      {
        ...spec,
        tags: { ...template.tags, instance: { ...instance, 'aws:ec2:fleet-id': fleet.id } },
        market: market === 'spot' ? { type: 'spot' } : undefined,
      },
      caller,
    );
  }
}

/** The sites among which the instances of a market may be distributed, in the order in which they are tried. */
function groupSites(sites: FleetSite[], { singleType, singleZone }: MarketOptions): FleetSite[][] {
  const groups = new Map<string, FleetSite[]>();
  for (const site of sites) {
    const isOneZone = singleZone || site.checked.placementGroup !== undefined;
    const key = `${singleType ? site.checked.type.name : ''} ${isOneZone ? site.zone : ''}`;
    groups.set(key, [...(groups.get(key) ?? []), site]);
  }
  return [...groups.values()];
}

function sum(launches: { count: number }[]): number {
  return launches.reduce((total, { count }) => total + count, 0);
}
