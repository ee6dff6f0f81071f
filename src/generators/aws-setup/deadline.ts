import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DEADLINE } from '../../aws/permissions/role';
import { allow, policy, type Json } from './render';

/** How often it is looked; docs/explanation/trust.md says so too. */
const DEADLINE_SCHEDULE = 'rate(10 minutes)';

/** The program that ends what is past its time, as Systems Manager runs it. */
export function deadlineProgram(): string {
  return readFileSync(join(__dirname, 'deadline.py'), 'utf8');
}

/** A deadline outside of the instances: a schedule that starts an automation, each by a role of its own. */
export function deadlineResources(): Json {
  return {
    DeadlineRole: role('ssm.amazonaws.com', 'Terminates instances and fleets of nx-ec2 that have expired', {
      PolicyName: 'end',
      PolicyDocument: allow(...DEADLINE),
    }),
    DeadlineAutomation: deadlineAutomation(),
    DeadlineStarter: role('scheduler.amazonaws.com', 'Starts the automation that terminates what has expired', {
      PolicyName: 'start',
      PolicyDocument: starterPolicy(),
    }),
    DeadlineSchedule: deadlineSchedule(),
  };
}

function deadlineAutomation(): Json {
  return {
    Type: 'AWS::SSM::Document',
    Properties: {
      DocumentType: 'Automation',
      DocumentFormat: 'JSON',
      UpdateMethod: 'NewVersion',
      Content: {
        schemaVersion: '0.3',
        description: 'Terminates expired instances and fleets of nx-ec2',
        assumeRole: { 'Fn::GetAtt': ['DeadlineRole', 'Arn'] },
        mainSteps: [
          {
            name: 'end',
            action: 'aws:executeScript',
            timeoutSeconds: 300,
            inputs: { Runtime: 'python3.11', Handler: 'handler', Script: deadlineProgram() },
          },
        ],
      },
    },
  };
}

/** What starts the automation may start no other, and hand on no role but the automation's. */
function starterPolicy(): Json {
  const automation = (kind: string, name: string) => ({
    'Fn::Sub': `arn:\${AWS::Partition}:ssm:\${AWS::Region}:\${AWS::AccountId}:${kind}/${name}`,
  });
  return policy(
    {
      Sid: 'Start',
      Effect: 'Allow',
      Action: 'ssm:StartAutomationExecution',
      Resource: [
        automation('automation-definition', '${DeadlineAutomation}:*'),
        automation('document', '${DeadlineAutomation}'),
        automation('automation-execution', '*'),
      ],
    },
    {
      Sid: 'PassRole',
      Effect: 'Allow',
      Action: 'iam:PassRole',
      Resource: { 'Fn::GetAtt': ['DeadlineRole', 'Arn'] },
      Condition: { StringEquals: { 'iam:PassedToService': 'ssm.amazonaws.com' } },
    },
  );
}

function deadlineSchedule(): Json {
  return {
    Type: 'AWS::Scheduler::Schedule',
    Properties: {
      Description: 'nx-ec2: a deadline outside of the instances',
      ScheduleExpression: DEADLINE_SCHEDULE,
      FlexibleTimeWindow: { Mode: 'OFF' },
      Target: {
        Arn: { 'Fn::Sub': 'arn:${AWS::Partition}:scheduler:::aws-sdk:ssm:startAutomationExecution' },
        RoleArn: { 'Fn::GetAtt': ['DeadlineStarter', 'Arn'] },
        Input: { 'Fn::Sub': '{"DocumentName":"${DeadlineAutomation}"}' },
        RetryPolicy: { MaximumEventAgeInSeconds: 600, MaximumRetryAttempts: 3 },
      },
    },
  };
}

/** A role of a service, for this account alone. */
function role(service: string, description: string, given: Json): Json {
  return {
    Type: 'AWS::IAM::Role',
    Properties: {
      Description: description,
      AssumeRolePolicyDocument: policy({
        Effect: 'Allow',
        Principal: { Service: service },
        Action: 'sts:AssumeRole',
        Condition: { StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } } },
      }),
      Policies: [given],
    },
  };
}
