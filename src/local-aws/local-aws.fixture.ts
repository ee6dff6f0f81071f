import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EC2Client } from '@aws-sdk/client-ec2';
import { S3Client } from '@aws-sdk/client-s3';
import { SSMClient } from '@aws-sdk/client-ssm';
import { STSClient } from '@aws-sdk/client-sts';
import { startLocalAws } from './server';
import type { LocalAws, LocalAwsOptions } from './types';

/** What `left` says where nothing is left that costs money or counts against a limit. */
export const NOTHING_LEFT: ReturnType<LocalAws['left']> = {
  instances: [],
  volumes: [],
  spotRequests: [],
  fleets: [],
  launchTemplates: [],
  securityGroups: [],
  placementGroups: [],
  capacityReservations: [],
};

export interface Fixture {
  aws: LocalAws;
  directory: string;
  clientOptions: {
    endpoint: string;
    region: string;
    credentials: { accessKeyId: string; secretAccessKey: string };
    maxAttempts: number;
  };
  /** Of a program that speaks as an instance does. */
  instanceCredentials: { accessKeyId: string; secretAccessKey: string; sessionToken: string };
  s3: S3Client;
  ssm: SSMClient;
  ec2: EC2Client;
  sts: STSClient;
  close(): Promise<void>;
}

/** Local AWS in a directory of its own, with the SDK's clients on it. */
export async function startFixture(options: Partial<LocalAwsOptions> = {}): Promise<Fixture> {
  const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'nx-ec2-local-'));
  const aws = await startLocalAws({ buckets: ['bucket'], instances: ['box'], history: true, ...options, directory });
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = aws.environment;
  const credentials = { accessKeyId, secretAccessKey };
  const clientOptions = { endpoint: aws.url, region: 'eu-west-1', credentials, maxAttempts: 1 };
  const clients = {
    s3: new S3Client({ ...clientOptions, forcePathStyle: true }),
    ssm: new SSMClient(clientOptions),
    ec2: new EC2Client(clientOptions),
    sts: new STSClient(clientOptions),
  };
  return {
    aws,
    directory,
    clientOptions,
    instanceCredentials: {
      accessKeyId: aws.instanceEnvironment.AWS_ACCESS_KEY_ID,
      secretAccessKey: aws.instanceEnvironment.AWS_SECRET_ACCESS_KEY,
      sessionToken: aws.instanceEnvironment.AWS_SESSION_TOKEN,
    },
    ...clients,
    close: async () => {
      for (const client of Object.values(clients)) client.destroy();
      await aws.close();
      if (!options.directory) rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** `Code status` of what AWS refused, or null where it did not. */
export async function refusal(promise: Promise<unknown>): Promise<string | null> {
  try {
    await promise;
    return null;
  } catch (error) {
    const { name, $metadata } = error as { name: string; $metadata?: { httpStatusCode?: number } };
    return `${name} ${$metadata?.httpStatusCode}`;
  }
}

/** What an instance reads of its metadata: the body, or null where there is none. */
export async function metadata({ aws }: Fixture, id: string, path: string): Promise<string | null> {
  const of = `${aws.instances.metadataUrl(id)}/latest`;
  const ttl = { 'x-aws-ec2-metadata-token-ttl-seconds': '60' };
  const token = await (await fetch(`${of}/api/token`, { method: 'PUT', headers: ttl })).text();
  const answer = await fetch(`${of}/meta-data/${path}`, { headers: { 'x-aws-ec2-metadata-token': token } });
  return answer.status === 200 ? answer.text() : null;
}
