/* eslint-disable @typescript-eslint/no-require-imports, @typescript-eslint/consistent-type-imports */
// Loaded when first asked for, and by `require`: `import()` sends each of hundreds of modules through a lexer and the
// thread pool, which takes a tenth of a second more.

export const sdk = {
  s3: () => require('@aws-sdk/client-s3') as typeof import('@aws-sdk/client-s3'),
  ssm: () => require('@aws-sdk/client-ssm') as typeof import('@aws-sdk/client-ssm'),
  secretsManager: () => require('@aws-sdk/client-secrets-manager') as typeof import('@aws-sdk/client-secrets-manager'),
  ec2: () => require('@aws-sdk/client-ec2') as typeof import('@aws-sdk/client-ec2'),
  instanceConnect: () =>
    require('@aws-sdk/client-ec2-instance-connect') as typeof import('@aws-sdk/client-ec2-instance-connect'),
  sts: () => require('@aws-sdk/client-sts') as typeof import('@aws-sdk/client-sts'),
  pricing: () => require('@aws-sdk/client-pricing') as typeof import('@aws-sdk/client-pricing'),
  serviceQuotas: () => require('@aws-sdk/client-service-quotas') as typeof import('@aws-sdk/client-service-quotas'),
  credentials: () => require('@aws-sdk/credential-providers') as typeof import('@aws-sdk/credential-providers'),
  upload: () => require('@aws-sdk/lib-storage') as typeof import('@aws-sdk/lib-storage'),
  presign: () => require('@aws-sdk/s3-request-presigner') as typeof import('@aws-sdk/s3-request-presigner'),
  presignPost: () => require('@aws-sdk/s3-presigned-post') as typeof import('@aws-sdk/s3-presigned-post'),
  http: () => require('@smithy/node-http-handler') as typeof import('@smithy/node-http-handler'),
  xml: () => require('fast-xml-parser') as typeof import('fast-xml-parser'),
  webSocket: () => require('ws') as typeof import('ws'),
};
