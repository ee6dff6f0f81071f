import type { Aws } from '../../aws/clients';
import { awsCode, awsProblem } from '../../aws/reason';
import { sdk } from '../../aws/sdk';
import type { Check } from '../../command/plan';
import { times } from './launch-parameters';
import { instancesList } from '../../report/shell-words';

export type Market = 'spot' | 'on-demand';

/** A quota of vCPUs that run at once, in an account and region. */
interface Quota {
  code: string;
  /** As Service Quotas calls it. */
  name: string;
}

/** By class of types, on demand and spot (EC2 user guide, "On-Demand Instance quotas", "Spot Instance quotas"). */
const QUOTAS: Record<string, Record<Market, Quota>> = {
  standard: pair('L-1216C47A', 'L-34B43A08', 'Standard (A, C, D, H, I, M, R, T, Z)'),
  g: pair('L-DB2E81BA', 'L-3819A6DF', 'G and VT'),
  p: pair('L-417A185B', 'L-7212CCBC', 'P', 'P4, P3 and P2'),
  p5: pair('L-417A185B', 'L-C4BD4855', 'P', 'P5'),
  x: pair('L-7295265B', 'L-E3A00192', 'X'),
  f: pair('L-74FC7D96', 'L-88CF9481', 'F'),
  inf: pair('L-1945791B', 'L-B5D1601B', 'Inf'),
  trn: pair('L-2C3B7624', 'L-6B0D517C', 'Trn'),
  dl: pair('L-6E869C2A', 'L-85EED4F7', 'DL'),
};

/** By the letters that a family begins with, and of P by its generation too: from P6 on, what its spot quota is is not known here. */
const CLASSES: [RegExp, keyof typeof QUOTAS][] = [
  [/^(a|c|d|h|i|im|is|m|r|t|z)\d/, 'standard'],
  [/^(g|gr|vt)\d/, 'g'],
  [/^p[234]/, 'p'],
  [/^p5/, 'p5'],
  [/^x\d/, 'x'],
  [/^f\d/, 'f'],
  [/^inf\d/, 'inf'],
  [/^trn\d/, 'trn'],
  [/^dl\d/, 'dl'],
];

function pair(onDemand: string, spot: string, families: string, spotFamilies = families): Record<Market, Quota> {
  return {
    'on-demand': { code: onDemand, name: `Running On-Demand ${families} instances` },
    spot: { code: spot, name: `All ${spotFamilies} Spot Instance Requests` },
  };
}

/** The quota that a type counts to; null where that is not known. */
export function quotaOf(type: string, market: Market): Quota | null {
  const found = CLASSES.find(([pattern]) => pattern.test(type));
  return found ? QUOTAS[found[1]][market] : null;
}

/** Whether the account's quota has room for `count` more of a type, beside what runs. Never throws. */
export async function checkQuota(
  aws: Aws,
  type: string,
  market: Market,
  count = 1,
  signal?: AbortSignal,
): Promise<Check> {
  const name = `quota for ${times(count)}${type}${market === 'spot' ? ' (spot)' : ''}`;
  const quota = quotaOf(type, market);
  if (!quota)
    return { name, ok: null, detail: `Not checked: the quota that applies to ${type} is unknown.`, fix: null };
  let asked = 'servicequotas:GetServiceQuota';
  try {
    const limit = await limitOf(aws, quota.code, signal);
    asked = 'ec2:DescribeInstances and ec2:DescribeInstanceTypes';
    const { each, used } = await vcpus(aws, type, market, quota, signal);
    const needed = count * each;
    const detail = `${used} of ${limit} vCPUs of "${quota.name}" are in use, and ${count > 1 ? `${count} instances need` : 'it needs'} ${needed}`;
    if (used + needed <= limit) return { name, ok: true, detail, fix: null };
    return {
      name,
      ok: false,
      detail,
      fix: `Request at least ${used + needed} in Service Quotas, Amazon EC2, "${quota.name}" (${quota.code}), or ${used ? `terminate other instances. To list them: ${instancesList()}` : 'choose another type.'}`,
    };
  } catch (error) {
    const problem = awsProblem('QUOTA', `The quota ${quota.code} could not be checked.`, error);
    const { aws: reason } = problem;
    const detail = reason ? `${problem.what} ${reason.code}: ${reason.message}` : problem.message.split('\n')[0];
    return { name, ok: null, detail, fix: `The caller needs ${asked} for this check; a launch does not.` };
  }
}

/** What the account was granted, else what every account has. */
async function limitOf(aws: Aws, QuotaCode: string, signal?: AbortSignal): Promise<number> {
  const { GetServiceQuotaCommand, GetAWSDefaultServiceQuotaCommand } = sdk.serviceQuotas();
  const quotas = await aws.serviceQuotas();
  const which = { ServiceCode: 'ec2', QuotaCode };
  const timeout = { abortSignal: AbortSignal.any([AbortSignal.timeout(10_000), ...(signal ? [signal] : [])]) };
  try {
    return (await quotas.send(new GetServiceQuotaCommand(which), timeout)).Quota!.Value!;
  } catch (error) {
    if (awsCode(error) !== 'NoSuchResourceException') throw error;
    return (await quotas.send(new GetAWSDefaultServiceQuotaCommand(which), timeout)).Quota!.Value!;
  }
}

/** vCPUs of a type, and of all that counts to the same quota and runs: each by its type's default, as EC2 counts. */
async function vcpus(
  aws: Aws,
  type: string,
  market: Market,
  { code }: Quota,
  abortSignal?: AbortSignal,
): Promise<{ each: number; used: number }> {
  const { paginateDescribeInstances, DescribeInstanceTypesCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const running: string[] = [];
  const Filters = [{ Name: 'instance-state-name', Values: ['pending', 'running'] }];
  for await (const { Reservations = [] } of paginateDescribeInstances({ client: ec2 }, { Filters }, { abortSignal }))
    for (const { InstanceType = '', InstanceLifecycle } of Reservations.flatMap(({ Instances = [] }) => Instances)) {
      const its = InstanceLifecycle === 'spot' ? 'spot' : 'on-demand';
      if (its === market && quotaOf(InstanceType, its)?.code === code) running.push(InstanceType);
    }
  const names = [...new Set([type, ...running])];
  const counts = new Map<string, number>();
  // A call takes a hundred.
  for (let from = 0; from < names.length; from += 100) {
    const command = new DescribeInstanceTypesCommand({ InstanceTypes: names.slice(from, from + 100) as never[] });
    for (const { InstanceType, VCpuInfo } of (await ec2.send(command, { abortSignal })).InstanceTypes ?? [])
      counts.set(InstanceType!, VCpuInfo?.DefaultVCpus ?? 0);
  }
  return {
    each: counts.get(type) ?? 0,
    used: running.reduce((total, each) => total + (counts.get(each) ?? 0), 0),
  };
}
