import { randomUUID } from 'node:crypto';
import { instanceType } from '../../catalog/instance-types';
import type { Market } from '../launch/capacity';
import type { Form } from '../request/form';
import { readPlacementGroup, type PlacementGroupName } from '../request/launch-specification';
import { readTemplateName, type TemplateName } from '../templates/launch-templates';
import { AwsError } from '../../protocol/aws-error';

/** A launch template with what one of a fleet's overrides says of it. */
export interface Pool {
  template: TemplateName;
  type?: string;
  subnet?: string;
  zone?: string;
  image?: string;
  placementGroup?: PlacementGroupName;
  priority?: number;
}

export interface FleetError {
  pool: number;
  market: Market;
  code: string;
  message: string;
}

/** Something that happened to a fleet. */
export interface FleetEvent {
  /** ms since the epoch. */
  at: number;
  type: 'fleet-change' | 'instance-change' | 'service-error';
  subType: string;
  description: string;
  instance?: string;
}

/** What an instant fleet demands of all its instances of a market. */
export interface MarketOptions {
  singleType: boolean;
  singleZone: boolean;
  /** With fewer, no instance is launched. */
  min?: number;
}

export interface Fleet {
  /** `fleet-…` */
  id: string;
  type: 'instant' | 'maintain';
  state: 'active' | 'deleted_running' | 'deleted_terminating';
  target: Record<Market, number>;
  defaultMarket: Market;
  options: Record<Market, MarketOptions>;
  /** In the order in which they are tried. */
  pools: Pool[];
  /** ms since the epoch. */
  created: number;
  validUntil?: number;
  terminateAtEnd: boolean;
  tags: Record<string, string>;
  /** Those that an instant fleet gives its instances. */
  instanceTags: Record<string, string>;
  clientToken?: string;
  fingerprint: string;
  launched: { instance: string; pool: number; market: Market }[];
  /** What an instant fleet was refused, and what keeps one that is maintained from its target. */
  errors: FleetError[];
  events: FleetEvent[];
}

/** Options of fleets that change what they do, and that local AWS does not have. */
const UNKNOWN = [
  'ValidFrom',
  'SpotOptions.MaxTotalPrice',
  'SpotOptions.MaintenanceStrategies.CapacityRebalance.ReplacementStrategy',
  'OnDemandOptions.MaxTotalPrice',
];

/** @throws AwsError as EC2 refuses it. */
export function readFleet(form: Form): Fleet {
  const type = form.text('Type') ?? 'maintain';
  if (type !== 'instant' && type !== 'maintain')
    throw new AwsError('UnsupportedOperation', `Local AWS has fleets of type instant and maintain, not ${type}.`);
  const unknown = UNKNOWN.find((name) => form.text(name) !== undefined);
  if (unknown) throw new AwsError('UnsupportedOperation', `Local AWS has no fleets with ${unknown}.`);
  const terminateAtEnd = form.flag('TerminateInstancesWithExpiration') ?? false;
  if (terminateAtEnd && type !== 'maintain')
    throw new AwsError(
      'InvalidParameterCombination',
      'TerminateInstancesWithExpiration is supported only for fleets of type maintain.',
    );
  const tags = form.tagSpecifications();
  const foreign = Object.keys(tags).find((each) => each !== 'fleet' && !(type === 'instant' && each === 'instance'));
  if (foreign !== undefined)
    throw new AwsError('InvalidParameterValue', `'${foreign}' is not a valid taggable resource type for this fleet.`);
  const defaultMarket = form.text('TargetCapacitySpecification.DefaultTargetCapacityType') ?? 'on-demand';
  if (defaultMarket !== 'spot' && defaultMarket !== 'on-demand')
    throw new AwsError('InvalidParameterValue', `Invalid value '${defaultMarket}' for DefaultTargetCapacityType.`);
  const target = readTarget(form, defaultMarket);
  return {
    id: `fleet-${randomUUID()}`,
    type,
    state: 'active',
    target,
    defaultMarket,
    options: {
      spot: readOptions(form.part('SpotOptions'), type, target.spot),
      'on-demand': readOptions(form.part('OnDemandOptions'), type, target['on-demand']),
    },
    pools: readPools(form, defaultMarket),
    created: Date.now(),
    validUntil: readEnd(form),
    terminateAtEnd,
    tags: tags.fleet ?? {},
    instanceTags: tags.instance ?? {},
    clientToken: form.text('ClientToken'),
    fingerprint: form.fingerprint(),
    launched: [],
    errors: [],
    events: [],
  };
}

function readTarget(form: Form, defaultMarket: Market): Fleet['target'] {
  const total = form.number('TargetCapacitySpecification.TotalTargetCapacity');
  if (total === undefined || total < 0)
    throw new AwsError('MissingParameter', 'The request must contain the parameter TotalTargetCapacity');
  const spot = form.number('TargetCapacitySpecification.SpotTargetCapacity') ?? 0;
  const onDemand = form.number('TargetCapacitySpecification.OnDemandTargetCapacity') ?? 0;
  const rest = total - spot - onDemand;
  if (rest < 0)
    throw new AwsError('InvalidTargetCapacitySpecification', 'The target capacities are more than their total.');
  const target = { spot, 'on-demand': onDemand };
  target[defaultMarket] += rest;
  return target;
}

const MAX_MIN_TARGET_CAPACITY = 1000;

function readOptions(form: Form | undefined, type: Fleet['type'], target: number): MarketOptions {
  const [singleType, singleZone] = [form?.flag('SingleInstanceType'), form?.flag('SingleAvailabilityZone')];
  const min = form?.number('MinTargetCapacity');
  if (type !== 'instant' && (singleType ?? singleZone ?? min) !== undefined)
    throw new AwsError(
      'InvalidParameterCombination',
      'SingleInstanceType, SingleAvailabilityZone and MinTargetCapacity are supported only for fleets of type instant.',
    );
  if (min !== undefined && !singleType && !singleZone)
    throw new AwsError(
      'InvalidParameterCombination',
      'MinTargetCapacity needs SingleInstanceType or SingleAvailabilityZone.',
    );
  if (min !== undefined && (min < 1 || min > Math.min(target, MAX_MIN_TARGET_CAPACITY)))
    throw new AwsError('InvalidParameterValue', `Value (${min}) for parameter MinTargetCapacity is invalid.`);
  return { singleType: singleType ?? false, singleZone: singleZone ?? false, min };
}

/** By priority where the strategy goes by it, else the cheapest first. */
function readPools(form: Form, market: Market): Pool[] {
  const pools = form.parts('LaunchTemplateConfigs').flatMap((config) => {
    const specification = config.part('LaunchTemplateSpecification');
    const template = specification ? readTemplateName(specification) : {};
    const overrides = config.parts('Overrides');
    if (!overrides.length) return [{ template }];
    return overrides.map((override) => ({
      template,
      type: override.text('InstanceType'),
      subnet: override.text('SubnetId'),
      zone: override.text('AvailabilityZone') ?? override.text('Placement.AvailabilityZone'),
      image: override.text('ImageId'),
      placementGroup: readPlacementGroup(override),
      priority: override.text('Priority') === undefined ? undefined : Number(override.text('Priority')),
    }));
  });
  if (!pools.length)
    throw new AwsError('MissingParameter', 'The request must contain the parameter LaunchTemplateConfigs');
  const options = market === 'spot' ? 'SpotOptions' : 'OnDemandOptions';
  const prioritized = form.text(`${options}.AllocationStrategy`)?.endsWith('prioritized') ?? false;
  const rank = ({ type, priority }: Pool) =>
    prioritized ? (priority ?? Infinity) : (instanceType(type ?? '')?.spotPrice ?? 0);
  return pools.sort((one, other) => {
    const [a, b] = [rank(one), rank(other)];
    return a === b ? 0 : a - b;
  });
}

function readEnd(form: Form): number | undefined {
  const text = form.text('ValidUntil');
  if (text === undefined) return undefined;
  const end = Date.parse(text);
  if (!(end > Date.now()))
    throw new AwsError('InvalidParameterValue', `Value (${text}) for parameter ValidUntil is invalid.`);
  return end;
}
