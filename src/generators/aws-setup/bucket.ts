import { policy, type Json } from './render';

const UNFINISHED = {
  Id: 'unfinished-uploads',
  Status: 'Enabled',
  AbortIncompleteMultipartUpload: { DaysAfterInitiation: 1 },
};
/** Where versions are kept: what was replaced or removed goes. Nothing of the store goes by its age: "prune" knows what is needed. */
const OLD_VERSIONS = {
  Id: 'old-versions',
  Status: 'Enabled',
  NoncurrentVersionExpiration: { NoncurrentDays: 30 },
  ExpiredObjectDeleteMarker: true,
};

/** A private bucket that is kept when the stack goes. */
export function bucketResources(lifecycle: boolean): Json {
  const bucketArn = { 'Fn::GetAtt': ['Bucket', 'Arn'] };
  return {
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
        LifecycleConfiguration: { Rules: [UNFINISHED, ...(lifecycle ? [OLD_VERSIONS] : [])] },
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
          Resource: [bucketArn, { 'Fn::Sub': '${Bucket.Arn}/*' }],
          Condition: { Bool: { 'aws:SecureTransport': 'false' } },
        }),
      },
    },
  };
}
