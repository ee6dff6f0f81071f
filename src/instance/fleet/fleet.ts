import { hash } from 'node:crypto';
import type {
  CreateFleetCommandInput,
  CreateLaunchTemplateCommandInput,
  RequestLaunchTemplateData,
  Tag,
} from '@aws-sdk/client-ec2';
import type { Aws } from '../../aws/clients';
import { awsCode, awsProblem, mayHaveHappened } from '../../aws/reason';
import type { Problem } from '../../report/problem';
import { instancesList } from '../../report/shell-words';
import { sdk } from '../../aws/sdk';
import { mapConcurrent } from '../../system/side-by-side';
import { TAG } from '../describe/ownership';

/** Fleets that are created at once. */
const CONCURRENCY = 8;
/** What EC2 takes of overrides. */
const MAX_OVERRIDES = 300;
/** The instance stops and saves its run first: so long after the deadline EC2 itself ends what is left, ms. */
const CLEANUP_MARGIN_MS = 10 * 60_000;

/** What to request for a run: all of it follows from the run, so that two requests create one fleet. */
export interface FleetRequest {
  run: string;
  /** Each node has a fleet of its own, of capacity 1: it replaces this node, and no other. */
  nodes: number;
  /** What its instances are made of. */
  instance: RequestLaunchTemplateData;
  /** Each of the types in each of the subnets; empty: the template has both. */
  places: readonly { type: string; subnet: string }[];
  /** ms since the epoch: then its instance ends itself and it. */
  deadline: number;
  tags: Tag[];
}

/** The name of the launch template of a run's fleet. */
export function templateName(run: string): string {
  return `nx-ec2-${run}`;
}

/** The template, where there is none of the name. What has made one already has decided what the instances are. */
export async function createLaunchTemplate(aws: Aws, request: FleetRequest, abortSignal?: AbortSignal): Promise<void> {
  const { CreateLaunchTemplateCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const input: CreateLaunchTemplateCommandInput = {
    LaunchTemplateName: templateName(request.run),
    ClientToken: request.run,
    LaunchTemplateData: request.instance,
    TagSpecifications: [{ ResourceType: 'launch-template', Tags: request.tags }],
  };
  try {
    await ec2.send(new CreateLaunchTemplateCommand(input), { abortSignal });
  } catch (error) {
    if (awsCode(error) === 'InvalidLaunchTemplateName.AlreadyExistsException') return;
    throw notCreated(`the launch template ${templateName(request.run)}`, error);
  }
}

/**
 * Creates the fleets: with one client token for a node of a run, the same for whoever asks again.
 * @param onCreated called with the id of each, also if another one can't be created.
 */
export async function createFleets(
  aws: Aws,
  request: FleetRequest,
  onCreated: (id: string) => void,
  abortSignal?: AbortSignal,
): Promise<void> {
  const { CreateFleetCommand } = sdk.ec2();
  const ec2 = await aws.ec2();
  const errors: unknown[] = [];
  // After an error, those that are being created are waited for: they are to be deleted.
  await mapConcurrent(Array(request.nodes).keys(), CONCURRENCY, async (rank) => {
    if (errors.length) return;
    try {
      const created = await ec2.send(new CreateFleetCommand(fleetInput(request, rank)), { abortSignal });
      onCreated(created.FleetId!);
    } catch (error) {
      errors.push(error);
    }
  });
  if (errors.length) throw notCreated(`the fleet of ${request.run}`, errors[0]);
}

function notCreated(what: string, error: unknown): Problem {
  if (!mayHaveHappened(error)) return awsProblem('FLEET', `Could not create ${what}.`, error);
  return awsProblem(
    'FLEET',
    `EC2 does not say whether it created ${what}.`,
    error,
    `It may exist. Check the network, and run the same command again: it continues with what was created. To look: ${instancesList()}`,
  );
}

/** EC2 takes 64 characters of a token. */
function clientToken(run: string, rank: number): string {
  return rank ? hash('sha256', `${run}/node/${rank}`, 'hex') : run;
}

function fleetInput({ run, nodes, places, deadline, tags }: FleetRequest, rank: number): CreateFleetCommandInput {
  const node = nodes > 1 ? [{ Key: TAG.node, Value: String(rank) }] : [];
  return {
    ClientToken: clientToken(run, rank),
    Type: 'maintain',
    TargetCapacitySpecification: {
      TotalTargetCapacity: 1,
      SpotTargetCapacity: 1,
      OnDemandTargetCapacity: 0,
      DefaultTargetCapacityType: 'spot',
    },
    SpotOptions: { AllocationStrategy: 'price-capacity-optimized', InstanceInterruptionBehavior: 'terminate' },
    ExcessCapacityTerminationPolicy: 'termination',
    ReplaceUnhealthyInstances: true,
    TerminateInstancesWithExpiration: true,
    // EC2 takes whole seconds.
    ValidUntil: new Date(Math.floor((deadline + CLEANUP_MARGIN_MS) / 1000) * 1000),
    LaunchTemplateConfigs: [
      {
        LaunchTemplateSpecification: { LaunchTemplateName: templateName(run), Version: '1' },
        Overrides: places.length
          ? places
              .slice(0, MAX_OVERRIDES)
              .map(({ type, subnet }) => ({ InstanceType: type as 't3.micro', SubnetId: subnet }))
          : undefined,
      },
    ],
    TagSpecifications: [{ ResourceType: 'fleet', Tags: [...tags, ...node] }],
  };
}
