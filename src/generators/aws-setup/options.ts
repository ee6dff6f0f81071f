import { Problem } from '../../report/problem';

/** What the template has beside the bucket, the role and the callers' policy. */
export interface SetupOptions {
  /** Callers may make instances. */
  launch?: boolean;
  /** Instances of fleets continue runs without a client. */
  recovery?: boolean;
  /** What is past its time is ended from outside. */
  deadline?: boolean;
  /** Old versions of objects go. */
  lifecycle?: boolean;
  endpoints?: Endpoints;
  /** A security group for instances that train together. */
  nodes?: { vpc: string };
  budget?: { usd: number; email: string };
  /** The instance profile's name; absent: CloudFormation chooses one. */
  instanceProfile?: string;
}

/** By ids. */
export interface Endpoints {
  vpc: string;
  subnets: string[];
  routeTables: string[];
  /** Of the instances; none: those that have the VPC's own. */
  securityGroups: string[];
}

interface Given extends Omit<SetupOptions, 'endpoints' | 'nodes' | 'budget'> {
  endpoints?: boolean;
  nodes?: boolean;
  vpc?: string;
  subnets?: string | string[];
  routeTables?: string | string[];
  securityGroups?: string | string[];
  budget?: number;
  email?: string;
}

/** @throws Problem where an option is not what it should be, needs another, or says nothing without another. */
export function readOptions(given: Given): SetupOptions {
  const { endpoints, budget, instanceProfile } = given;
  const { launch, recovery, deadline, lifecycle, nodes } = given;
  if (instanceProfile !== undefined && !/^[\w+=,.@-]{1,128}$/.test(instanceProfile))
    throw wrong('instanceProfile', instanceProfile, '1 to 128 letters, digits and +=,.@_-');
  return {
    launch,
    recovery,
    deadline,
    lifecycle,
    instanceProfile,
    endpoints: endpoints
      ? readEndpoints(given)
      : without(given, [...(nodes ? [] : ['vpc' as const]), 'subnets', 'routeTables', 'securityGroups'], 'endpoints'),
    nodes: nodes ? { vpc: idsOf('vpc', 'vpc', given.vpc, 'nodes')[0] } : undefined,
    budget:
      budget === undefined ? without(given, ['email'], 'budget') : { usd: amount(budget), email: address(given.email) },
  };
}

function readEndpoints({ vpc, subnets, routeTables, securityGroups }: Given): Endpoints {
  return {
    vpc: idsOf('vpc', 'vpc', vpc, 'endpoints')[0],
    subnets: idsOf('subnets', 'subnet', subnets, 'endpoints'),
    routeTables: idsOf('routeTables', 'rtb', routeTables, 'endpoints'),
    securityGroups: idsOf('securityGroups', 'sg', securityGroups),
  };
}

/** @param needing the option that needs at least one; absent: there may be none. */
function idsOf(name: string, prefix: string, value: string | string[] | undefined, needing?: string): string[] {
  const all = [value ?? []].flat().flatMap((each) => String(each).split(','));
  for (const id of all)
    if (!new RegExp(`^${prefix}-[0-9a-f]{8,17}$`).test(id))
      throw wrong(name, id, `${prefix}-…, or several with commas`);
  if (needing !== undefined && !all.length) throw missing(name, needing);
  return all;
}

function amount(usd: number): number {
  if (!(Number.isFinite(usd) && usd > 0)) throw wrong('budget', String(usd), 'USD a month, more than 0');
  return usd;
}

function address(email: string | undefined): string {
  if (email === undefined) throw missing('email', 'budget');
  if (!/^[^\s@]{1,64}@[A-Za-z0-9.-]{1,185}$/.test(email)) throw wrong('email', email, 'an address');
  return email;
}

function without(given: Given, options: (keyof Given)[], other: keyof Given): undefined {
  const alone = options.find((each) => given[each] !== undefined);
  if (alone) throw new Problem('OPTION_INVALID', `--${alone} says nothing without --${other}.`);
}

function missing(option: string, other: string): Problem {
  return new Problem('OPTION_MISSING', `--${other} needs --${option}.`);
}

function wrong(option: string, value: string, must: string): Problem {
  return new Problem('OPTION_INVALID', `--${option}=${JSON.stringify(value)}: must be ${must}.`);
}
