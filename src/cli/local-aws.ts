import { resolve } from 'node:path';
import { duration } from '../config/syntax/units';
import { BUCKET_NAME } from '../local-aws/s3/objects';
import { startLocalAws } from '../local-aws/server';
import { readFaults } from './local-aws-faults';
import { ensureStateDirectory } from './local-aws-state';
import { networkProfile } from './network-profile';
import { readPort } from './read-port';

interface Options {
  port: string;
  directory: string;
  region: string;
  bucket: string;
  instance: string;
  boot: string;
  agentChannel: string;
  faults?: string;
  network?: string;
  json?: boolean;
}

/** Runs local AWS until it is told to stop. */
export async function localAws(options: Options): Promise<void> {
  const port = readPort(options.port);
  assertNames(options);
  const { agentChannel } = options;
  if (agentChannel !== 'gateway' && agentChannel !== 'ec2messages')
    throw new Error(`--agent-channel: write gateway or ec2messages, not ${agentChannel}`);
  const directory = resolve(options.directory);
  ensureStateDirectory(directory);
  const aws = await startLocalAws({
    port,
    directory,
    region: options.region,
    buckets: [options.bucket],
    instances: [options.instance],
    boot: bootTime(options.boot),
    agentChannel,
    ...(options.faults === undefined ? {} : readFaults(options.faults)),
    network: options.network === undefined ? {} : networkProfile(options.network),
  }).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'EADDRINUSE'
      ? new Error(`port ${port} is in use: local AWS may be running already. To use another port: --port=<port>`)
      : error;
  });
  const instance = aws.named.get(options.instance)!.id;
  if (options.json) {
    console.log(JSON.stringify({ url: aws.url, environment: aws.environment, bucket: options.bucket, instance }));
  } else {
    console.log(
      `Local AWS listens on ${aws.url}, with the bucket ${options.bucket} and the instance ${options.instance} (${instance}).\n`,
    );
    for (const [name, value] of Object.entries(aws.environment)) console.log(`export ${name}=${value}`);
    console.log('\nCtrl+C stops it and all that its instances run.');
  }
  const stop = () => void aws.close().then(() => process.exit(0));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, stop);
}

function bootTime(text: string): number {
  const parsed = duration.safeParse(text);
  if (!parsed.success) throw new Error(`--boot: ${text} ${parsed.error.issues[0].message}`);
  return parsed.data;
}

/** @throws Error where a name can't be one. */
export function assertNames(options: Pick<Options, 'directory' | 'region' | 'bucket' | 'instance'>): void {
  const { directory, region, bucket, instance } = options;
  for (const [name, value] of Object.entries({ directory, region, bucket, instance }))
    if (!value) throw new Error(`--${name} is empty: give it a value, or leave it out.`);
  if (!/^[a-z]{2}(-[a-z]+)+-\d$/.test(region))
    throw new Error(`--region: must be the id of a region, e.g. eu-west-1; it is ${region}`);
  if (!BUCKET_NAME.test(bucket)) throw new Error(`--bucket: must be the name of an S3 bucket; it is ${bucket}`);
}
