import type { LocalInstance } from '../../instance/instances';
import type { Fleet, FleetError, Pool } from './fleet';
import { tagSet, timestamp, type Xml } from '../request/xml';

/** A fleet as DescribeFleets tells of it. */
export function fleetXml(fleet: Fleet, state: string, alive: LocalInstance[]): { [name: string]: Xml } {
  const spot = alive.filter(({ spotRequest }) => spotRequest !== undefined).length;
  const total = fleet.target.spot + fleet.target['on-demand'];
  const { id, name, version } = fleet.pools[0].template;
  return {
    fleetId: fleet.id,
    fleetState: state,
    activityStatus: activity(fleet, alive.length, total),
    createTime: timestamp(fleet.created),
    clientToken: fleet.clientToken,
    type: fleet.type,
    fulfilledCapacity: alive.length,
    fulfilledOnDemandCapacity: alive.length - spot,
    targetCapacitySpecification: {
      totalTargetCapacity: total,
      spotTargetCapacity: fleet.target.spot,
      onDemandTargetCapacity: fleet.target['on-demand'],
      defaultTargetCapacityType: fleet.defaultMarket,
    },
    launchTemplateConfigs: [
      {
        launchTemplateSpecification: { launchTemplateId: id, launchTemplateName: name, version },
        overrides: fleet.pools.map(overrides),
      },
    ],
    terminateInstancesWithExpiration: fleet.terminateAtEnd,
    validUntil: fleet.validUntil === undefined ? undefined : timestamp(fleet.validUntil),
    tagSet: tagSet(fleet.tags),
  };
}

export function errorXml(fleet: Fleet, { pool, market, code, message }: FleetError): Xml {
  return {
    launchTemplateAndOverrides: poolXml(fleet.pools[pool]),
    lifecycle: market,
    errorCode: code,
    errorMessage: message,
  };
}

/** What an instant fleet launched: the instances of a pool in a zone together. */
export function launchedXml(fleet: Fleet, instance: (id: string) => LocalInstance): Xml[] {
  const groups = new Map<string, { launched: Fleet['launched'][number]; instances: LocalInstance[] }>();
  for (const launched of fleet.launched) {
    const found = instance(launched.instance);
    const key = `${launched.pool} ${launched.market} ${found.zone}`;
    const instances = [...(groups.get(key)?.instances ?? []), found];
    groups.set(key, { launched, instances });
  }
  return [...groups.values()].map(({ launched: { pool, market }, instances }) => ({
    launchTemplateAndOverrides: poolXml(fleet.pools[pool]),
    lifecycle: market,
    instanceIds: instances.map(({ id }) => id),
    instanceType: instances[0].type,
    availabilityZone: instances[0].zone,
  }));
}

function activity({ state, errors }: Fleet, alive: number, target: number): string {
  if (state !== 'active') return 'pending_termination';
  if (alive >= target) return 'fulfilled';
  return errors.length ? 'error' : 'pending_fulfillment';
}

function poolXml(pool: Pool): Xml {
  const { id, name, version } = pool.template;
  return {
    launchTemplateSpecification: { launchTemplateId: id, launchTemplateName: name, version },
    overrides: overrides(pool),
  };
}

function overrides({ type, subnet, zone, image, priority }: Pool): Xml {
  return { instanceType: type, subnetId: subnet, availabilityZone: zone, imageId: image, priority };
}
