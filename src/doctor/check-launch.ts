import type { RunInstancesCommandInput } from '@aws-sdk/client-ec2';
import type { Aws } from '../aws/clients';
import { awsCode, awsProblem } from '../aws/reason';
import { sdk } from '../aws/sdk';
import type { Check } from '../command/plan';
import type { LaunchSpec } from '../config/schema/launch-spec';
import type { Problem } from '../report/problem';
import { assertProfile } from '../instance/launch/assert-profile';
import { imagesOf } from '../instance/launch/image';
import { assertEfa } from '../instance/launch/efa';
import { machineTypes, type MachineType } from '../instance/launch/machine-type';
import {
  assertRoom,
  describeReservation,
  reservationOf,
  reservedOptions,
  type Reservation,
} from '../instance/launch/reservation';
import { nodeNetwork } from '../instance/launch/node-network';
import { launchParameters, times, type LaunchPurpose } from '../instance/launch/launch-parameters';
import { specHash, TAG } from '../instance/describe/ownership';
import { createGroup, GROUP_PERMISSIONS } from '../instance/launch/placement';
import { placements, type LaunchOption } from '../instance/launch/launch-options';
import { describePrice, priceOf, type Price } from '../instance/price/price';
import { checkQuota, type Market } from '../instance/launch/quota';

/**
 * What a launch relies on, asked without launching: the types and where they are offered, the image, the right to launch,
 * quotas, prices; of several instances, their network. Never throws for what it finds.
 */
export async function checkLaunch(
  aws: Aws,
  launchSpec: LaunchSpec,
  purpose: Pick<LaunchPurpose, 'owner' | 'store' | 'count'>,
  pricePerHour?: number,
  signal?: AbortSignal,
): Promise<Check[]> {
  const { types, ami, spot } = launchSpec;
  const { count = 1 } = purpose;
  const checks: Check[] = [];
  const [machines, offered, reservation, profile] = await Promise.all([
    attempt(checks, 'instance type', () => machineTypes(aws, types, signal)),
    attempt(checks, 'offered', () => placements(aws, launchSpec, signal)),
    attempt(checks, 'capacity reservation', () => reservationOf(aws, launchSpec, signal)),
    attempt(checks, 'instance profile', () =>
      assertProfile(aws, launchSpec, signal).then(() => launchSpec.instanceProfile ?? null),
    ),
  ]);
  if (machines) checks.unshift(found('instance type', types.join(', ')));
  if (offered) checks.push(found('offered', offers(offered)));
  const options =
    offered && (await attempt(checks, 'capacity reservation', async () => reservedOptions(reservation, offered)));
  if (reservation && options) checks.push(await checkRoom(aws, reservation, count));
  if (machines && launchSpec.network === 'efa') checks.push(checkEfa(launchSpec, machines));
  if (profile) checks.push(found('instance profile', profile));
  const images = machines && (await attempt(checks, 'image', () => imagesOf(aws, ami, machines, signal)));
  if (images)
    checks.push(
      found(
        'image',
        [...images].map(([type, { id, architecture }]) => `${id} (${architecture}) for ${type}`).join(', '),
      ),
    );
  const markets: Market[] = spot === false ? ['on-demand'] : spot === true ? ['spot'] : ['spot', 'on-demand'];
  const first = options?.[0];
  // A capacity block is paid for; to which quota it counts is not established.
  const isBlock = reservation?.isBlock === true;
  const image = first && images?.get(first.type);
  const [priced, ...quotas] = await Promise.all([
    first && !isBlock ? checkPrice(aws, first, pricePerHour, count) : null,
    ...(machines && !isBlock
      ? types.flatMap((type) => markets.map((market) => checkQuota(aws, type, market, count, signal)))
      : []),
    ...(options && count > 1 ? [checkNetwork(aws, launchSpec, options, count, signal)] : []),
    ...(machines && count > 1 && !reservation ? checkPlacement(aws, launchSpec, machines, signal) : []),
  ]);
  if (priced) checks.push(priced.check);
  if (first && image) {
    const launch = () => {
      const key = specHash(purpose.owner, launchSpec, count);
      const efa = machines?.find(({ name }) => name === first.type)?.efa;
      const of = { made: 'remote-up', run: null, deadline: null, efa, reservation } as const;
      const whose = { ...purpose, key, root: null, ...of };
      return launchParameters(launchSpec, first, image, priced?.price ?? null, whose);
    };
    checks.push(await mayLaunch(aws, first, launch, count, signal));
  }
  return [...checks, ...quotas];
}

/** RunInstances with DryRun, of what the launch tries first. */
async function mayLaunch(
  aws: Aws,
  { type, market }: LaunchOption,
  launch: () => RunInstancesCommandInput,
  count: number,
  abortSignal?: AbortSignal,
): Promise<Check> {
  const name = count > 1 ? `launch ${count} instances` : 'launch an instance';
  const what = `${times(count)}${type} (${market})`;
  const { RunInstancesCommand } = sdk.ec2();
  try {
    const ec2 = await aws.ec2();
    await ec2.send(new RunInstancesCommand({ ...launch(), DryRun: true }), { abortSignal });
  } catch (error) {
    if (awsCode(error) === 'DryRunOperation') return found(name, `EC2 would launch ${what}`);
    const check = failed(name, awsProblem('LAUNCH', `EC2 would not launch ${what}.`, error));
    return awsCode(error) === 'UnauthorizedOperation' ? { ...check, fix: lacks((error as Error).message) } : check;
  }
  return { name, ok: null, detail: `EC2 did not say whether it would launch ${what}.`, fix: null };
}

/** The action that is missing, where EC2 names it. */
function lacks(message: string): string {
  const action =
    /perform: ([a-z0-9-]+:\w+)/i.exec(message)?.[1] ??
    'ec2:RunInstances, ec2:CreateTags, or iam:PassRole for the role of the instance profile';
  return `The caller lacks ${action}: the CallerPolicy of nx g nx-ec2:aws-setup grants it.`;
}

async function checkPrice(
  aws: Aws,
  to: LaunchOption,
  pricePerHour?: number,
  count = 1,
): Promise<{ check: Check; price: Price | null }> {
  let why = '';
  const price = await priceOf(aws, to, pricePerHour, (text) => (why = text.split('\n').join(' ')));
  const fix = 'The cost of runs is not shown; set "pricePerHour" (USD) to show it.';
  const check = price
    ? found('price', `${to.type}: ${times(count)}${describePrice(price)}`)
    : { name: 'price', ok: null, detail: why, fix };
  return { check, price };
}

/** Whether several instances have addresses, and reach one another. */
async function checkNetwork(
  aws: Aws,
  launchSpec: LaunchSpec,
  options: LaunchOption[],
  count: number,
  signal?: AbortSignal,
): Promise<Check> {
  const name = `network of ${count} instances`;
  try {
    const { full, unknown } = await nodeNetwork(aws, launchSpec, options, count, signal);
    if (unknown !== null) {
      const fix = 'The caller needs ec2:DescribeSecurityGroups for this check; a launch does not.';
      return { name, ok: null, detail: unknown, fix };
    }
    const room = full.length ? ` Subnets with fewer free addresses: ${full.join(', ')}.` : '';
    return found(name, `Security groups let the instances reach one another.${room}`);
  } catch (error) {
    return failed(name, error as Problem);
  }
}

/** Whether the caller may place several instances in a group. Without the right, they are launched all the same, unless a group is asked for. */
function checkPlacement(
  aws: Aws,
  { placement }: LaunchSpec,
  machines: MachineType[],
  signal?: AbortSignal,
): Promise<Check>[] {
  const name = 'placement group';
  const isAsked = placement === 'cluster';
  const unfit = machines.filter(({ clusters }) => !clusters).map((each) => each.name);
  if (placement === 'none') return [];
  if (unfit.length) {
    const detail = `EC2 has no cluster placement groups for ${unfit.join(', ')}.`;
    return [Promise.resolve({ name, ok: isAsked ? false : null, detail, fix: null })];
  }
  const group = { GroupName: 'nx-ec2-doctor', Tags: [{ Key: TAG.managed, Value: 'true' }], DryRun: true };
  const asked = createGroup(aws, group, signal).then(
    () => found(name, 'EC2 did not say whether it would create one.'),
    (error: unknown): Check => {
      if (awsCode(error) === 'DryRunOperation') return found(name, 'EC2 would create one');
      const check = failed(name, awsProblem('PLACEMENT', 'EC2 would create none.', error, GROUP_PERMISSIONS));
      return isAsked ? check : { ...check, ok: null };
    },
  );
  return [asked];
}

/** Whether a capacity reservation has room and time for a launch of all instances. */
async function checkRoom(aws: Aws, reservation: Reservation, count: number): Promise<Check> {
  const name = 'capacity reservation';
  try {
    assertRoom(reservation, count, await aws.now());
    return found(name, describeReservation(reservation));
  } catch (error) {
    return failed(name, error as Problem);
  }
}

function checkEfa(launchSpec: LaunchSpec, machines: MachineType[]): Check {
  try {
    assertEfa(launchSpec, machines);
    return found(
      'EFA',
      machines.map(({ name, efa }) => `${name}: ${efa!.interfaces} EFA interfaces at most`).join('; '),
    );
  } catch (error) {
    return failed('EFA', error as Problem);
  }
}

function offers(options: LaunchOption[]): string {
  const zones = new Map<string, Set<string>>();
  for (const { type, zone } of options) zones.set(type, (zones.get(type) ?? new Set()).add(zone));
  return [...zones].map(([type, where]) => `${type} in ${[...where].sort().join(', ')}`).join('; ');
}

async function attempt<T>(checks: Check[], name: string, ask: () => Promise<T>): Promise<T | null> {
  try {
    return await ask();
  } catch (error) {
    checks.push(failed(name, error as Problem));
    return null;
  }
}

function found(name: string, detail: string): Check {
  return { name, ok: true, detail, fix: null };
}

function failed(name: string, { message, aws, what, next }: Problem): Check {
  return {
    name,
    ok: false,
    detail: aws ? `${what} ${aws.code}: ${aws.message}` : (what ?? message).split('\n')[0],
    fix: next?.split('\n').join(' ') ?? null,
  };
}
