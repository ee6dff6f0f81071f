import { instancePolicies, SETTINGS, whereSet } from './instance-role';
import { sessionStatements } from './session-rights';
import { kmsStatement, policy, stored, type Json } from './statements';

/** Whoever may send commands may do so to instances that carry this tag, whatever its value, and to no other. */
export const INSTANCE_TAG = 'nx-ec2';

/** What of a run names others of its objects. */
const RUN_LISTS = ['record.json', 'artifacts.json', 'checkpoint/*'].map((name) => `*/run/*/${name}`);

/** What nx-ec2 needs in an account, with the rights that it uses and no others: a CloudFormation template. */
export function setupTemplate(bucket: string): Json {
  const bucketArn = { 'Fn::GetAtt': ['Bucket', 'Arn'] };
  const objects = { 'Fn::Sub': '${Bucket.Arn}/*' };
  return {
    AWSTemplateFormatVersion: '2010-09-09',
    Description:
      'nx-ec2: a private bucket, a role for the instances that train, a policy for those who start trainings',
    Parameters: {
      BucketName: {
        Type: 'String',
        Default: bucket,
        AllowedPattern: '[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]',
        Description: 'The bucket that everything travels through',
      },
      ...SETTINGS,
    },
    Conditions: {
      HasData: whereSet('DataArns'),
      HasKey: whereSet('KmsKeyArn'),
    },
    Resources: {
      Bucket: {
        Type: 'AWS::S3::Bucket',
        DeletionPolicy: 'Retain',
        UpdateReplacePolicy: 'Retain',
        Properties: {
          BucketName: { Ref: 'BucketName' },
          PublicAccessBlockConfiguration: {
            BlockPublicAcls: true,
            BlockPublicPolicy: true,
            IgnorePublicAcls: true,
            RestrictPublicBuckets: true,
          },
          OwnershipControls: { Rules: [{ ObjectOwnership: 'BucketOwnerEnforced' }] },
          BucketEncryption: {
            ServerSideEncryptionConfiguration: [{ ServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' } }],
          },
          LifecycleConfiguration: {
            Rules: [
              {
                Id: 'unfinished-uploads',
                Status: 'Enabled',
                AbortIncompleteMultipartUpload: { DaysAfterInitiation: 1 },
              },
            ],
          },
        },
      },
      BucketPolicy: {
        Type: 'AWS::S3::BucketPolicy',
        Properties: {
          Bucket: { Ref: 'Bucket' },
          PolicyDocument: policy({
            Sid: 'EncryptedTransportOnly',
            Effect: 'Deny',
            Principal: '*',
            Action: 's3:*',
            Resource: [bucketArn, objects],
            Condition: { Bool: { 'aws:SecureTransport': 'false' } },
          }),
        },
      },
      InstanceRole: {
        Type: 'AWS::IAM::Role',
        Properties: {
          Description: 'Instances that train: the SSM agent, and what runs tell the store and read for themselves',
          AssumeRolePolicyDocument: policy({
            Effect: 'Allow',
            Principal: { Service: { 'Fn::Sub': 'ec2.${AWS::URLSuffix}' } },
            Action: 'sts:AssumeRole',
          }),
          Policies: instancePolicies(),
        },
      },
      InstanceProfile: { Type: 'AWS::IAM::InstanceProfile', Properties: { Roles: [{ Ref: 'InstanceRole' }] } },
      CallerPolicy: {
        Type: 'AWS::IAM::ManagedPolicy',
        Properties: {
          Description: 'Sync and train with nx-ec2',
          PolicyDocument: policy(
            { Sid: 'Bucket', Effect: 'Allow', Action: 's3:ListBucket', Resource: bucketArn },
            {
              Sid: 'Objects',
              Effect: 'Allow',
              Action: ['s3:GetObject', 's3:PutObject', 's3:DeleteObject', 's3:AbortMultipartUpload'],
              Resource: objects,
            },
            {
              Sid: 'Document',
              Effect: 'Allow',
              Action: 'ssm:SendCommand',
              Resource: {
                'Fn::Sub': 'arn:${AWS::Partition}:ssm:${AWS::Region}::document/AWS-RunShellScript',
              },
            },
            {
              Sid: 'TaggedInstances',
              Effect: 'Allow',
              Action: 'ssm:SendCommand',
              Resource: {
                'Fn::Sub': 'arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:instance/*',
              },
              Condition: { Null: { [`ssm:resourceTag/${INSTANCE_TAG}`]: 'false' } },
            },
            ...sessionStatements(INSTANCE_TAG),
            {
              // None of these can be limited to a resource.
              Sid: 'Look',
              Effect: 'Allow',
              Action: ['ssm:GetCommandInvocation', 'ssm:DescribeInstanceInformation', 'ec2:DescribeInstances'],
              Resource: '*',
            },
            { 'Fn::If': ['HasKey', kmsStatement(), { Ref: 'AWS::NoValue' }] },
          ),
        },
      },
      PrunePolicy: {
        Type: 'AWS::IAM::ManagedPolicy',
        Properties: {
          Description: 'Only prune with nx-ec2: for a job that does nothing else',
          PolicyDocument: policy(
            {
              Sid: 'List',
              Effect: 'Allow',
              Action: 's3:ListBucket',
              Resource: bucketArn,
              Condition: { StringLike: { 's3:prefix': ['v1/*', '*/v1/*'] } },
            },
            {
              // What is needed is read off these; no plan, no archive, no log, no artifact.
              Sid: 'Read',
              Effect: 'Allow',
              Action: 's3:GetObject',
              Resource: stored('p/*', 'x/*', '*/m/*', '*/ref/*', '*/key/*', ...RUN_LISTS),
            },
            { Sid: 'Write', Effect: 'Allow', Action: 's3:PutObject', Resource: stored('x/*') },
            { Sid: 'Remove', Effect: 'Allow', Action: 's3:DeleteObject', Resource: stored('*') },
          ),
        },
      },
    },
    Outputs: {
      BucketName: { Value: { Ref: 'Bucket' } },
      InstanceProfile: { Description: 'For the instances that train', Value: { Ref: 'InstanceProfile' } },
      CallerPolicy: { Description: 'To attach to those who start trainings', Value: { Ref: 'CallerPolicy' } },
      PrunePolicy: {
        Description: 'To attach to a job that only prunes; callers may do so as it is',
        Value: { Ref: 'PrunePolicy' },
      },
    },
  };
}
