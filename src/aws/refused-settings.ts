import { calledBy } from './called';

/** By an error's code and message: the settings whose values AWS refuses. */
const REFUSED: readonly [RegExp, readonly string[]][] = [
  [/^(NoSuchBucket|PermanentRedirect|AuthorizationHeaderMalformed|TemporaryRedirect)\b/, ['bucket', 'region']],
  [/^InvalidAMIID\b|^InvalidAMIName\b/, ['instance.ami', 'region']],
  [/^InvalidInstanceType\b/, ['instance.type', 'region']],
  [/^InvalidSubnet/, ['instance.subnet', 'region', 'profile']],
  [/^Invalid(SecurityGroupID|Group)\b|^SecurityGroup/, ['instance.securityGroups', 'region', 'profile']],
  [/iamInstanceProfile|IAM Instance Profile/i, ['instance.instanceProfile', 'profile']],
  [/^InvalidUserData\b/, ['instance.userData']],
  [/^(InvalidTag|TagPolicy|TagLimit|InvalidParameterValue: .*\btags?\b)/i, ['instance.tags']],
  [/^InvalidBlockDeviceMapping\b|^InvalidParameterValue: .*\bvolume\b/i, ['instance.volumeSize']],
  [/\bsts:AssumeRole\b/, ['roleArn', 'profile']],
  [
    /^(ExpiredToken|RequestExpired|InvalidClientTokenId|UnrecognizedClientException|InvalidAccessKeyId|AuthFailure:|SignatureDoesNotMatch)/,
    ['profile'],
  ],
  // The host of a region that does not exist has no address.
  [/^ENOTFOUND\b/, ['region']],
];

/** What S3 says of the key that it encrypts with. */
const KMS = /^KMS\.|\bkms:/;

/** The settings that an error of the SDK's may be about, by their paths in the configuration. */
export function refusedSettings(error: unknown): readonly string[] {
  const { name = '', code, message = '' } = (error ?? {}) as { name?: string; code?: string; message?: string };
  const { action = '' } = calledBy(error) ?? {};
  const text = `${code ?? name}: ${message}`;
  if (action.startsWith('s3:') && KMS.test(text)) return ['kmsKeyId', 'bucket'];
  return REFUSED.find(([pattern]) => pattern.test(text))?.[1] ?? [];
}
