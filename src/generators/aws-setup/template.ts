import { CALLER, CALLER_ON_MADE, PRUNE } from '../../aws/permissions/caller';
import { LAUNCH } from '../../aws/permissions/launch';
import type { Statement } from '../../aws/permissions/statement';
import { bucketResources } from './bucket';
import { budgetResources } from './budget';
import { deadlineResources } from './deadline';
import { endpointResources } from './endpoints';
import { ANY_PREFIX, instanceResources, SETTINGS, whereSet } from './instance-role';
import { NODES_OUTPUT, nodesResources } from './nodes';
import type { SetupOptions } from './options';
import { allow, type Json } from './render';

/** What nx-ec2 needs in an account, with the rights that it uses and no others: a CloudFormation template. */
export function setupTemplate(bucket: string, options: SetupOptions = {}): Json {
  const { launch = false, recovery = false, lifecycle = false } = options;
  const { deadline, endpoints, nodes, budget, instanceProfile } = options;
  return {
    AWSTemplateFormatVersion: '2010-09-09',
    Description:
      'nx-ec2: a private bucket, a role for the instances that train, a policy for the users who start trainings',
    Parameters: {
      BucketName: {
        Type: 'String',
        Default: bucket,
        AllowedPattern: '[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]',
        Description: 'The bucket that holds the store',
      },
      ...SETTINGS,
    },
    Conditions: {
      HasData: whereSet('DataArns'),
      HasKey: whereSet('KmsKeyArn'),
      HasPrefix: whereSet('Prefix', ANY_PREFIX),
    },
    Resources: {
      ...bucketResources(lifecycle),
      ...instanceResources(instanceProfile, recovery),
      CallerPolicy: managedPolicy('Sync and train with nx-ec2', CALLER),
      // Apart: IAM takes 6,144 characters of a policy.
      ...(launch
        ? { LaunchPolicy: managedPolicy('Launch and terminate instances with nx-ec2', [...CALLER_ON_MADE, ...LAUNCH]) }
        : {}),
      PrunePolicy: managedPolicy('Only prune with nx-ec2, for a job that does nothing else', PRUNE),
      ...(deadline ? deadlineResources() : {}),
      ...(endpoints ? endpointResources(endpoints, recovery, !!nodes) : {}),
      ...(nodes ? nodesResources(nodes) : {}),
      ...(budget ? budgetResources(budget) : {}),
    },
    Outputs: {
      BucketName: { Value: { Ref: 'Bucket' } },
      InstanceProfile: { Description: 'For the instances that train', Value: { Ref: 'InstanceProfile' } },
      CallerPolicy: { Description: 'Attach it to the users who start trainings', Value: { Ref: 'CallerPolicy' } },
      ...(launch
        ? {
            LaunchPolicy: {
              Description: 'Attach it as well to the users who launch instances',
              Value: { Ref: 'LaunchPolicy' },
            },
          }
        : {}),
      ...(nodes ? NODES_OUTPUT : {}),
      PrunePolicy: {
        Description: 'Attach it to a job that only prunes; callers have these permissions already',
        Value: { Ref: 'PrunePolicy' },
      },
    },
  };
}

function managedPolicy(description: string, statements: Statement[]): Json {
  return {
    Type: 'AWS::IAM::ManagedPolicy',
    Properties: { Description: description, PolicyDocument: allow(...statements) },
  };
}
