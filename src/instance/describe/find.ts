import type { Filter, Instance } from '@aws-sdk/client-ec2';
import type { Aws } from '../../aws/clients';
import { awsCode, awsProblem } from '../../aws/reason';
import type { NamedInstance } from '../../config/schema/instance-name';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';

export type { NamedInstance };

export interface FoundInstance {
  id: string;
  /** pending, running, shutting-down, terminated, stopping, stopped. */
  state: string;
  name?: string;
  type?: string;
  profile?: string;
  zone?: string;
  vpc?: string;
  /** Its private IPv4 address. */
  address?: string;
  /** The ids of its security groups. */
  groups: string[];
  /** EC2's reason for its state: `Client.InstanceInitiatedShutdown: Instance initiated shutdown`. */
  reason: string | null;
}

const STATES: Record<number, string> = {
  0: 'pending',
  16: 'running',
  32: 'shutting-down',
  48: 'terminated',
  64: 'stopping',
  80: 'stopped',
};

/** The settings that say which instance is meant. */
const SELECTING = ['instance', 'region', 'profile'];

/** `i-0abc`, `named "gpu-box"`, `tagged Team=vision`. */
export function describeName(name: NamedInstance): string {
  if ('id' in name) return name.id;
  if ('name' in name) return `named "${name.name}"`;
  return `tagged ${Object.entries(name.tag)
    .map(([key, value]) => `${key}=${value}`)
    .join(', ')}`;
}

/**
 * The one instance that is meant. By name or tag, exactly one that is not terminated must match; among several, the
 * only one that runs or boots is meant.
 */
export async function findInstance(aws: Aws, name: NamedInstance): Promise<FoundInstance> {
  const found = await describe(aws, name);
  if ('id' in name) {
    if (found.length === 0) throw missing(name);
    return found[0];
  }
  return only(found, name);
}

/** Of several, the one that is not terminated, or the only one that runs or boots. @throws Problem */
export function only<T extends { id: string; state: string }>(found: readonly T[], name: NamedInstance): T {
  const alive = found.filter(isAlive);
  const up = alive.filter(({ state }) => state === 'running' || state === 'pending');
  const candidates = up.length === 1 ? up : alive;
  if (candidates.length === 0) throw missing(name);
  if (candidates.length > 1) {
    throw new Problem(
      'INSTANCE_AMBIGUOUS',
      `${candidates.length} instances are ${describeName(name)}: ${candidates.map(({ id, state }) => `${id} (${state})`).join(', ')}.`,
      {
        next: 'Name one by its id: "instance": { "id": "i-…" }, or --instance=i-…',
        settings: ['instance'],
      },
    );
  }
  return candidates[0];
}

/** Every instance that is meant: one for a name, all that run for a tag with `all`. Ids, each once. */
export async function findInstances(aws: Aws, names: readonly NamedInstance[]): Promise<string[]> {
  const found = await Promise.all(
    names.map(async (name) => {
      if ('id' in name) return [name.id];
      if (!('tag' in name && name.all)) return [(await findInstance(aws, name)).id];
      const running = (await describe(aws, name)).filter(({ state }) => state === 'running');
      if (!running.length) throw missing(name);
      return running.map(({ id }) => id);
    }),
  );
  return [...new Set(found.flat())].sort();
}

/**
 * Every instance that is meant and not terminated, whatever its state: one for a name, all for a tag with `all`. In the
 * order of their ids, each once.
 */
export async function findAll(aws: Aws, names: readonly NamedInstance[]): Promise<FoundInstance[]> {
  const found = new Map<string, FoundInstance>();
  for (const name of names) {
    const all = 'tag' in name && name.all ? await describe(aws, name) : [await findInstance(aws, name)];
    for (const each of all) if (isAlive(each)) found.set(each.id, each);
  }
  return [...found.values()].sort((one, other) => (one.id < other.id ? -1 : 1));
}

function isAlive({ state }: Pick<FoundInstance, 'state'>): boolean {
  return state !== 'terminated' && state !== 'shutting-down';
}

function missing(name: NamedInstance): Problem {
  return new Problem('INSTANCE_MISSING', `There is no instance ${describeName(name)} in this account and region.`, {
    next: 'Check "instance", "region" and "profile".',
    settings: SELECTING,
  });
}

async function describe(aws: Aws, name: NamedInstance): Promise<FoundInstance[]> {
  const filters: Filter[] | undefined =
    'id' in name
      ? undefined
      : 'name' in name
        ? [{ Name: 'tag:Name', Values: [name.name] }]
        : Object.entries(name.tag).map(([key, value]) => ({ Name: `tag:${key}`, Values: [value] }));
  const found: FoundInstance[] = [];
  const request = 'id' in name ? { InstanceIds: [name.id] } : { Filters: filters };
  try {
    for await (const instance of aws.instances(request)) found.push(toFound(instance));
  } catch (error) {
    const code = awsCode(error);
    if (code === 'InvalidInstanceID.NotFound' || code === 'InvalidInstanceID.Malformed') {
      throw awsProblem(
        'INSTANCE_MISSING',
        `There is no instance ${describeName(name)} in this account and region.`,
        error,
        'Check "instance", "region" and "profile".',
        SELECTING,
      );
    }
    throw awsProblem('INSTANCE_DESCRIBE', `Could not look up the instance ${describeName(name)}.`, error);
  }
  return found;
}

/** pending, running, shutting-down, terminated, stopping, stopped. */
export function stateOf({ State }: Instance): string {
  // The high byte of the code is for AWS's internal use (EC2 API reference, InstanceState).
  return STATES[(State?.Code ?? 0) & 0xff] ?? State?.Name ?? 'unknown';
}

function toFound(instance: Instance): FoundInstance {
  return {
    id: instance.InstanceId!,
    state: stateOf(instance),
    name: instance.Tags?.find(({ Key }) => Key === 'Name')?.Value,
    type: instance.InstanceType,
    profile: instance.IamInstanceProfile?.Arn,
    zone: instance.Placement?.AvailabilityZone,
    vpc: instance.VpcId,
    address: instance.PrivateIpAddress,
    groups: (instance.SecurityGroups ?? []).map(({ GroupId }) => GroupId!),
    reason: stateReason(instance),
  };
}

/** Why EC2 says an instance is in its state, code and message, safe to print. EC2's message begins with the code. */
export function stateReason({ StateReason: reason }: Instance): string | null {
  if (!reason?.Code) return null;
  const message = reason.Message ?? '';
  return sanitizeForTerminal(message.startsWith(reason.Code) ? message : `${reason.Code}: ${message}`);
}

/** Throws where EC2 says that the instance does not run any more; anything EC2 can't say is let pass. */
export async function assertRunning(aws: Aws, id: string): Promise<void> {
  let found: FoundInstance;
  try {
    found = await findInstance(aws, { id });
  } catch (error) {
    if (error instanceof Problem && error.code === 'INSTANCE_MISSING') throw gone(id, 'terminated', null);
    return;
  }
  if (found.state !== 'running' && found.state !== 'pending') throw gone(id, found.state, found.reason);
}

function gone(id: string, state: string, reason: string | null): Problem {
  const why = reason ? ` (${reason})` : '';
  return new Problem('INSTANCE_GONE', `The instance ${id} is ${state}${why}: whatever was running on it was lost.`, {
    next: state.startsWith('stop')
      ? 'To start it again and look at its disk: nx run <project>:remote-up'
      : 'Its disk was deleted with it.',
  });
}
