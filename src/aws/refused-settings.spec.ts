import { marksCalls } from './called';
import { refusedSettings } from './refused-settings';

const error = (name: string, message = '') => Object.assign(new Error(message), { name });

describe('the settings that AWS refuses', () => {
  it.each([
    ['NoSuchBucket', 'The specified bucket does not exist', ['bucket', 'region']],
    ['InvalidAMIID.NotFound', "The image id '[ami-0]' does not exist", ['instance.ami', 'region']],
    ['InvalidAMIID.Malformed', 'Invalid id: "ami-x"', ['instance.ami', 'region']],
    [
      'InvalidInstanceType',
      'The following supplied instance types do not exist: [g5.huge]',
      ['instance.type', 'region'],
    ],
    ['InvalidSubnetID.NotFound', "The subnet ID 'subnet-0' does not exist", ['instance.subnet', 'region', 'profile']],
    ['InvalidGroup.NotFound', 'The security group does not exist', ['instance.securityGroups', 'region', 'profile']],
    ['InvalidSecurityGroupID.NotFound', 'It does not exist', ['instance.securityGroups', 'region', 'profile']],
    [
      'InvalidParameterValue',
      'Value (nope) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name',
      ['instance.instanceProfile', 'profile'],
    ],
    [
      'AccessDenied',
      'User: arn:aws:iam::1:user/a is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::1:role/b',
      ['roleArn', 'profile'],
    ],
    ['InvalidClientTokenId', 'The security token included in the request is invalid', ['profile']],
    ['AccessDenied', 'Access Denied', []],
    ['InternalError', 'We encountered an internal error', []],
  ])('are found for %s: %s', (name, message, settings) => {
    expect(refusedSettings(error(name, message))).toEqual(settings);
  });

  it('are the KMS key if S3 may not use it', async () => {
    const denied = error('AccessDenied', 'not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:x');
    /** An error as a client of the SDK throws it. */
    const thrownBy = async (clientName: string) => {
      const thrown: Promise<unknown>[] = [];
      const send = () => Promise.reject(Object.assign(Object.create(denied), { name: 'AccessDenied' }));
      const middlewareStack = {
        add: (middleware: (next: typeof send, context: object) => (args: object) => Promise<unknown>) =>
          thrown.push(middleware(send, { clientName, commandName: 'PutObjectCommand' })({ input: {} })),
      };
      marksCalls({ middlewareStack });
      return thrown[0].catch((each: unknown) => each);
    };
    expect(refusedSettings(await thrownBy('S3Client'))).toEqual(['kmsKeyId', 'bucket']);
    expect(refusedSettings(await thrownBy('SSMClient'))).toEqual([]);
  });

  it('are the region if its host has no address', () => {
    const unknown = Object.assign(new Error('getaddrinfo ENOTFOUND ec2.eu-wst-1.amazonaws.com'), { code: 'ENOTFOUND' });
    expect(refusedSettings(unknown)).toEqual(['region']);
  });
});
