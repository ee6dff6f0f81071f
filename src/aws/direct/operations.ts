import type { IncomingMessage } from 'node:http';
import type {
  DescribeInstanceInformationCommandInput,
  DescribeInstanceInformationCommandOutput,
  GetCommandInvocationCommandInput,
  GetCommandInvocationCommandOutput,
  SendCommandCommandInput,
  SendCommandCommandOutput,
} from '@aws-sdk/client-ssm';
import {
  describeInstancesRequest,
  parseInstances,
  type DescribeInstancesInput,
  type DescribeInstancesOutput,
} from './describe-instances';
import { callerRequest, parseCaller, type GetCallerIdentityOutput } from './caller-identity';
import { readAnswer, type Unsigned } from './http';
import { headBucketRequest, listObjectsRequest, parseHeadBucket, parseListObjects } from './list-objects';
import type { HeadBucketInput, HeadBucketOutput, ListObjectsInput, ListObjectsOutput } from './list-objects';
import { deleteObjectRequest, parseDeleteObject, type DeleteObjectInput } from './objects';
import { getObjectRequest, headObjectRequest, parseGetObject, parseHeadObject } from './objects';
import { parsePutObject, putObjectRequest } from './objects';
import type { GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput } from './objects';
import type { PutObjectInput, PutObjectOutput } from './objects';

/** The calls of a sync, with the SDK's names of what goes in and comes out. */
export interface Operations {
  DescribeInstances: { input: DescribeInstancesInput; output: DescribeInstancesOutput };
  SendCommand: { input: SendCommandCommandInput; output: Pick<SendCommandCommandOutput, 'Command'> };
  GetCommandInvocation: {
    input: GetCommandInvocationCommandInput;
    output: Omit<GetCommandInvocationCommandOutput, '$metadata'>;
  };
  DescribeInstanceInformation: {
    input: DescribeInstanceInformationCommandInput;
    output: Pick<DescribeInstanceInformationCommandOutput, 'InstanceInformationList'>;
  };
  GetCallerIdentity: { input: Record<string, never>; output: GetCallerIdentityOutput };
  HeadBucket: { input: HeadBucketInput; output: HeadBucketOutput };
  ListObjectsV2: { input: ListObjectsInput; output: ListObjectsOutput };
  HeadObject: { input: HeadObjectInput; output: HeadObjectOutput };
  GetObject: { input: GetObjectInput; output: GetObjectOutput };
  PutObject: { input: PutObjectInput; output: PutObjectOutput };
  DeleteObject: { input: DeleteObjectInput; output: object };
}

export type OperationName = keyof Operations;
export type Input<K extends OperationName> = Operations[K]['input'];
export type Output<K extends OperationName> = Operations[K]['output'];

interface Operation<K extends OperationName> {
  service: 'ec2' | 'ssm' | 's3' | 'sts';
  /** Undefined: something that only the SDK does. */
  request(input: Input<K>): Unsigned | undefined;
  /** Of an answer with 2xx. @throws Error where it is not what the operation answers. */
  parse(answer: IncomingMessage): Output<K> | Promise<Output<K>>;
  /** What else is an answer: an error that the caller expects, with its name. */
  expected?(answer: IncomingMessage): string | undefined | Promise<string | undefined>;
}

/** More than any answer of Systems Manager or a page of EC2's, bytes. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;

/** More than any error, bytes. */
const MAX_ERROR_BYTES = 64 * 1024;

export const OPERATIONS: { [K in OperationName]: Operation<K> } = {
  DescribeInstances: {
    service: 'ec2',
    request: describeInstancesRequest,
    parse: async (answer) => parseInstances((await readAnswer(answer, MAX_ANSWER_BYTES)).toString('utf8')),
  },
  SendCommand: ssm('SendCommand'),
  GetCommandInvocation: ssm('GetCommandInvocation', 'InvocationDoesNotExist'),
  DescribeInstanceInformation: ssm('DescribeInstanceInformation'),
  GetCallerIdentity: {
    service: 'sts',
    request: callerRequest,
    parse: async (answer) => parseCaller((await readAnswer(answer, MAX_ANSWER_BYTES)).toString('utf8')),
  },
  HeadBucket: { service: 's3', request: headBucketRequest, parse: parseHeadBucket },
  ListObjectsV2: {
    service: 's3',
    request: listObjectsRequest,
    parse: async (answer) => parseListObjects((await readAnswer(answer, MAX_ANSWER_BYTES)).toString('utf8')),
  },
  HeadObject: {
    service: 's3',
    request: headObjectRequest,
    parse: parseHeadObject,
    // HEAD has no body that would say whether it is the bucket.
    expected: ({ statusCode }) => (statusCode === 404 ? 'NotFound' : undefined),
  },
  GetObject: {
    service: 's3',
    request: getObjectRequest,
    parse: parseGetObject,
    expected: async (answer) => {
      if (answer.statusCode === 304) return '304';
      if (answer.statusCode === 416) return 'InvalidRange';
      if (answer.statusCode !== 404) return undefined;
      return errorCode(await readAnswer(answer, MAX_ERROR_BYTES), 'NoSuchKey');
    },
  },
  PutObject: {
    service: 's3',
    request: putObjectRequest,
    parse: parsePutObject,
    expected: ({ statusCode }) => (statusCode === 412 ? 'PreconditionFailed' : undefined),
  },
  DeleteObject: { service: 's3', request: deleteObjectRequest, parse: parseDeleteObject },
};

/** AWS JSON 1.1. @param expected the error that callers expect. */
function ssm<K extends 'SendCommand' | 'GetCommandInvocation' | 'DescribeInstanceInformation'>(
  name: K,
  expected?: string,
): Operation<K> {
  return {
    service: 'ssm',
    request: (input) => ({
      method: 'POST',
      path: '/',
      headers: { 'Content-Type': 'application/x-amz-json-1.1', 'X-Amz-Target': `AmazonSSM.${name}` },
      body: JSON.stringify(input),
    }),
    parse: async (answer) => {
      const output = JSON.parse((await readAnswer(answer, MAX_ANSWER_BYTES)).toString('utf8')) as Output<K>;
      if (typeof output !== 'object' || output === null) throw new Error('no object');
      return output;
    },
    expected: async (answer) =>
      expected && answer.statusCode === 400
        ? errorCode(await readAnswer(answer, MAX_ERROR_BYTES), expected)
        : undefined,
  };
}

/** The error's code, if it is this one: an XML element of S3's, or what ends a name in JSON. */
function errorCode(body: Buffer, code: string): string | undefined {
  const text = body.toString('utf8');
  return text.includes(`<Code>${code}</Code>`) || new RegExp(`"__type":\\s*"(?:[^"]*#)?${code}"`).test(text)
    ? code
    : undefined;
}
