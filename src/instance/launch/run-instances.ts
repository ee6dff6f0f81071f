import type { RunInstancesCommandInput } from '@aws-sdk/client-ec2';
import type { Aws } from '../../aws/clients';
import { awsCode, awsProblem, isTransient, mayHaveHappened } from '../../aws/reason';
import { sdk } from '../../aws/sdk';
import { sleep } from '../../system/sleep';
import type { ErrorCode } from '../../report/error-codes';
import type { Problem } from '../../report/problem';
import { instancesList } from '../../report/shell-words';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { formatDuration } from '../../report/units';
import { findByClientToken, isAlive, toInstanceInfo, type InstanceInfo } from '../describe/describe-instances';
import { steadyNow } from '../../system/moment';

/** What EC2 does not launch, with its code and message. */
export interface Refused {
  refused: string;
  message: string;
}

/** What EC2 says to one try. */
export type Answer =
  | { instances: InstanceInfo[] }
  /** No capacity there: another launch option may have some. */
  | Refused
  /** Under that token something else was launched before. */
  | { other: true }
  /** What was launched under that token has ended, or some of it: those that live. */
  | { ended: InstanceInfo[] };

/** How long each kind of trouble is waited out, ms. */
export interface RunInstancesTimeouts {
  /** An instance profile that was made just now is not known to EC2 for some seconds. */
  profile: number;
  /** Nor is a placement group. */
  group: number;
  /** The way to AWS, throttling, faults of EC2's own. */
  trouble: number;
}

const RUN_INSTANCES_RETRY_MS = 2_000;

/** No capacity, or not there: of this type, in this zone, on this market (EC2 API reference, "Error codes"). */
export const CAPACITY_ERRORS: ReadonlySet<string> = new Set([
  'InsufficientInstanceCapacity',
  'InsufficientCapacity',
  'InsufficientHostCapacity',
  'InsufficientReservedInstanceCapacity',
  'ReservationCapacityExceeded',
  'InsufficientFreeAddressesInSubnet',
  'InsufficientAddressCapacity',
  'UnfulfillableCapacity',
  'SpotMaxPriceTooLow',
  'Unsupported',
]);

/** Whether it is the placement group that EC2 refuses, of which another try can do without. */
export function isOfPlacementGroup(code: string, message: string): boolean {
  return (
    /^(InvalidPlacementGroup|PlacementGroup)/.test(code) ||
    (code === 'UnauthorizedOperation' && /PlacementGroup|:placement-group\//.test(message))
  );
}

export interface RunInstancesOptions {
  parameters: RunInstancesCommandInput;
  /** The client token: EC2 launches nothing twice under it. */
  token: string;
  /** What is launched, in words. */
  what: string;
  /** `sure`: so long what was launched may be missing in EC2's lists. */
  timeouts: RunInstancesTimeouts & { sure: number };
  /** Told of what is waited for. */
  onWait: (text: string) => void;
  signal?: AbortSignal;
}

/**
 * One try, under its token: sent again as long as only the way to EC2 fails, which launches nothing twice. EC2's answer
 * that it has no capacity is a 500, and is believed at once.
 * @throws Problem for what no other try would mend: a permission, a quota, a parameter.
 */
export async function runInstances(
  aws: Aws,
  { parameters, token, what, timeouts, onWait, signal }: RunInstancesOptions,
): Promise<Answer> {
  const { RunInstancesCommand } = sdk.ec2();
  const ec2 = await aws.ec2Once();
  const started = steadyNow();
  let said = false;
  let isDoubtful = false;
  const wait = async (limit: number, text: string): Promise<boolean> => {
    if (steadyNow() - started >= limit) return false;
    if (!said) onWait(text);
    said = true;
    await sleep(Math.min(RUN_INSTANCES_RETRY_MS, limit), signal);
    return true;
  };
  for (;;) {
    try {
      const command = new RunInstancesCommand({ ...parameters, ClientToken: token });
      const { Instances = [] } = await ec2.send(command, { abortSignal: signal });
      const instances = Instances.map(toInstanceInfo).filter(isAlive);
      return instances.length >= parameters.MinCount! ? { instances } : { ended: instances };
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      isDoubtful ||= mayHaveHappened(error);
      const code = awsCode(error) ?? '';
      const message = sanitizeForTerminal((error as Error).message);
      if (CAPACITY_ERRORS.has(code)) return { refused: code, message };
      if (parameters.Placement?.GroupName !== undefined && isOfPlacementGroup(code, message)) {
        const isNew = code === 'InvalidPlacementGroup.Unknown';
        if (isNew && (await wait(timeouts.group, 'EC2 does not know the new placement group yet; waiting'))) continue;
        return { refused: code, message };
      }
      if (code === 'IdempotentParameterMismatch') return { other: true };
      if (code === 'IdempotentInstanceTerminated') return { ended: [] };
      if (/iamInstanceProfile|IAM Instance Profile/i.test(message) && code === 'InvalidParameterValue') {
        if (
          await wait(
            timeouts.profile,
            `EC2 does not know the instance profile yet; waiting up to ${formatDuration(timeouts.profile)}`,
          )
        )
          continue;
      } else if (isTransient(error)) {
        if (await wait(timeouts.trouble, `EC2 does not answer (${code || message}); trying again`)) continue;
      }
      if (!isDoubtful) throw explained(error, what);
      const instances = await findLaunched(aws, token, { min: parameters.MinCount!, timeout: timeouts.sure, signal });
      if (instances) return { instances };
      throw unanswered(error, what);
    }
  }
}

/** What a request whose answer was lost has launched; null: EC2 lists too few, or does not answer that either. */
async function findLaunched(
  aws: Aws,
  token: string,
  { min, timeout, signal }: { min: number; timeout: number; signal?: AbortSignal },
): Promise<InstanceInfo[] | null> {
  for (const until = steadyNow() + timeout; ; await sleep(Math.min(RUN_INSTANCES_RETRY_MS, timeout), signal)) {
    const found = await findByClientToken(aws, token, signal).catch(() => []);
    signal?.throwIfAborted();
    if (found.length >= min) return found;
    if (steadyNow() >= until) return null;
  }
}

function unanswered(error: unknown, what: string): Problem {
  return awsProblem(
    'LAUNCH',
    `EC2 does not say whether it launches ${what}.`,
    error,
    `It may have been launched, and then ends by its shutdown rules. Check the network, and run the same command again: it continues with what was launched. To look: ${instancesList()}`,
  );
}

function explained(error: unknown, what: string): Problem {
  const code = awsCode(error) ?? '';
  const hint = HINTS.find(([pattern]) => pattern.test(code) || pattern.test(`${code} ${(error as Error).message}`));
  return awsProblem(hint?.[1] ?? 'LAUNCH', `EC2 does not launch ${what}.`, error, hint?.[2]);
}

/** By the error's code, or by code and message: our code, and what to do. */
const HINTS: [RegExp, ErrorCode, string][] = [
  [
    /^VcpuLimitExceeded|^MaxSpotInstanceCountExceeded|^InstanceLimitExceeded|^VolumeLimitExceeded/,
    'QUOTA',
    "The account's quota in this region is used up. Request more in Service Quotas (Amazon EC2), terminate other instances, or choose a smaller type.",
  ],
  [
    /^AuthFailure\.ServiceLinkedRoleCreationNotPermitted/,
    'LAUNCH',
    'To create the role, once per account: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com',
  ],
  [
    /^UnauthorizedOperation/,
    'LAUNCH',
    'The caller needs ec2:RunInstances, ec2:CreateTags, and iam:PassRole for the role of the instance profile: the CallerPolicy of nx g nx-ec2:aws-setup has them. To decode an encoded message: aws sts decode-authorization-message --encoded-message …',
  ],
  [
    /IAM Instance Profile/,
    'INSTANCE_PROFILE',
    'Check "instanceProfile". To create one: nx g nx-ec2:aws-setup. To list them: aws iam list-instance-profiles',
  ],
  [/^(PendingVerification|OptInRequired|Blocked)/, 'LAUNCH', 'AWS blocks this account: contact AWS Support.'],
];
